package corpus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
)

// HostileAnnotations are sets that whoever may push can write beside a
// signature; each took down a process that gave it to cosign as it was.
func HostileAnnotations() map[string]map[string]string {
	dsse := base64.StdEncoding.EncodeToString([]byte(`{"kind":"dsse","apiVersion":"0.0.1","spec":{}}`))
	return map[string]map[string]string{
		"empty log entry":      {LogKey: "{}"},
		"body is a number":     {LogKey: `{"SignedEntryTimestamp":"AA==","Payload":{"body":1,"integratedTime":1,"logIndex":1,"logID":"00"}}`},
		"body is an object":    {LogKey: `{"Payload":{"body":{},"integratedTime":1}}`},
		"body is not base64":   {LogKey: `{"Payload":{"body":"{","integratedTime":1,"logID":"00"}}`},
		"body is empty JSON":   {LogKey: `{"Payload":{"body":"e30=","integratedTime":1,"logID":"00"}}`},
		"body is a bare kind":  {LogKey: `{"Payload":{"body":"` + dsse + `","integratedTime":1,"logID":"00"}}`},
		"log entry is null":    {LogKey: "null"},
		"certificate is blank": {CertificateKey: "\n"},
		"certificate is empty": {CertificateKey: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"},
		"chain is blank":       {ChainKey: "\n", CertificateKey: "\n"},
		"timestamp is empty":   {TimestampKey: "{}"},
		"timestamp is null":    {TimestampKey: "null"},
		"timestamp is junk":    {TimestampKey: `{"SignedRFC3161Timestamp":"AAAA"}`},
		"signature is blank":   {SignatureKey: "\n"},
		"no annotations":       nil,
	}
}

// LyingReferrers are answers to a request for a list of referrers.
func LyingReferrers() map[string]string {
	return map[string]string{
		"not JSON":            "<html>",
		"null":                "null",
		"a list":              "[]",
		"digests are hostile": `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}`,
		"sha512": `{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha512:` +
			strings.Repeat("ab", 64) + `","size":1}]}`,
		"nothing is there": `{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:` + strings.Repeat("ab",
			32) + `","size":1}]}`,
	}
}

// MalformedBundles are documents with parts missing, which older libraries
// followed into nil; whole is a good one.
func MalformedBundles(whole []byte) [][]byte {
	var bad [][]byte
	for _, s := range []string{"", "null", "[]", "{}", `{"mediaType":"` + BundleMedia + `"}`, `{"mediaType":1}`,
		strings.Repeat("[", 10000),
		`{"mediaType":"` + BundleMedia + `","dsseEnvelope":null,"verificationMaterial":null}`,
		`{"mediaType":"` + BundleMedia + `","verificationMaterial":{"publicKey":{}},"messageSignature":{}}`,
		`{"mediaType":"` + BundleMedia +
			`","verificationMaterial":{"tlogEntries":[null]},"dsseEnvelope":{"signatures":[null]}}`} {
		bad = append(bad, []byte(s))
	}

	var doc map[string]any
	check(json.Unmarshal(whole, &doc))
	return append(bad, Pruned(doc)...)
}

// traps are the ways in which cosign's own library lets an attacker in, or
// down; the numbers are those of docs/signatures.md and docs/threat-model.md.
func traps() []Case {
	k := newSigners()
	unsigned := denied(attestor.CodeBaseUnsigned)
	out := k.crashes(unsigned)
	for name, body := range LyingReferrers() {
		out = append(out, k.signed("traps/10 a list of referrers: "+name, signedByKey, unsigned, func(s *signing) {
			s.referrers(func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", OCIIndex)
				_, _ = io.WriteString(w, body)
			})
		}))
	}

	sortCases(out)
	out = append(out,
		k.signed("traps/02 a referrer that unpacks to 200 MiB", signedByKey, unsigned, func(s *signing) {
			s.refer(GzipOf(io.LimitReader(Zeros{}, 200<<20)))
			s.refer(bytes.Repeat([]byte{' '}, 3<<20)) // beyond what is read at all
		}),
		k.signed("traps/03 bytes after packed ones, twelve times", signedByKey, unsigned, func(s *signing) {
			for i := range 12 {
				s.refer(append(Gzip([]byte("{}")), fmt.Sprintf("trailing %d", i)...))
			}
		}),
		k.signed("traps/04 a moved signature", signedByKey, unsigned, func(s *signing) {
			other := s.other()
			s.attach("sig", k.key.Entry(Simple(s.p.Host+"/"+s.repo, other)))
			s.refer(k.key.Bundle(Statement(other, SignPredicate)))
		}),
		k.signed("traps/05 an identity within another", signedRegexp, unsigned, func(s *signing) {
			s.attach("sig", k.sig.EntryBy(s.simple(), "x"+SignerSubject+".evil.example", SignerIssuer))
		}),
		k.signed("traps/06 an attestation that says no", signedByKey, unsigned, func(s *signing) {
			s.refer(k.key.Bundle(Statement(s.base, "https://example.com/REJECTED/v1")))
		}),
		k.signed("traps/07 the right one of several identities", signedKeyless, admitted(), func(s *signing) {
			for _, who := range []string{"a@example.com", SignerSubject, "b@example.com"} {
				s.refer(k.sig.BundleBy(s.statement(), who, SignerIssuer, true))
			}
		}),
		k.signed("traps/08 a key without a trusted root", signedByKey, admitted(),
			func(s *signing) { s.refer(k.key.Bundle(s.statement())) }),
		k.signed("traps/09 no integrated time, with a timestamp", signedKeyless, admitted(),
			func(s *signing) { k.rekorV2(s, true) }),
		k.signed("traps/09 no integrated time, nor a timestamp", signedKeyless, unsigned,
			func(s *signing) { k.rekorV2(s, false) }),
		k.signed("traps/10 the fallback tag is the image itself", signedByKey, unsigned, func(s *signing) {
			s.p.Front = func(_ http.ResponseWriter, r *http.Request) bool {
				r.URL.Path = strings.Replace(r.URL.Path, "/sha256-"+s.base.Hex(), "/"+string(s.base), 1)
				r.URL.Path = strings.TrimSuffix(r.URL.Path, ".sig")
				return false
			}
		}),
		k.signed("traps/10 another image's bundle", signedByKey, unsigned, func(s *signing) {
			other := s.other()
			s.referTo(other, k.key.Bundle(s.statement()))
			s.p.Front = func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/referrers/") {
					r.URL.Path = strings.Replace(r.URL.Path, string(s.base), string(other), 1)
				}
				return false
			}
		}),
		k.signed("traps/10 an endless list of referrers", signedByKey, undecided(attestor.CodeBaseSignatureUnknown), func(s *signing) {
			s.referrers(func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", OCIIndex)
				_, _ = io.Copy(w, io.LimitReader(Zeros{}, 64<<20))
			})
		}),
		k.signed("traps/12 silence for the list of referrers", signedByKey, undecided(attestor.CodeBaseSignatureUnknown), func(s *signing) {
			s.p.Front = func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/referrers/") {
					<-r.Context().Done()
				}
				return strings.Contains(r.URL.Path, "/referrers/")
			}
		}),
		k.signed("traps/12 an intermediate that expired", signedUnlogged, unsigned,
			func(s *signing) { s.chained(time.Now().Add(-time.Minute)) }),
	)
	return append(out, k.malformed(unsigned)...)
}

const signedRegexp = `
  base:
    required: true
    approved: [{name: own, repository: $REPO/base, tags: ["1"], signedBy: {keyless: {issuer: "` + SignerIssuer +
	`", subjectRegexp: 'release@bases\.example\.com'}, trustedRoot: $DIR/root.json}}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

// referrers answers whoever asks for referrers in the base's repository.
func (s *signing) referrers(answer func(w http.ResponseWriter)) {
	s.p.Front = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		answer(w)
		return true
	}
}

// crashes are the annotations of trap 01, asked about by key and by identity,
// and once more with a good signature behind them.
func (k signers) crashes(unsigned Want) []Case {
	var out []Case
	for name, set := range HostileAnnotations() {
		hostile := func(s *signing) Entry {
			e := k.sig.Entry(s.simple())
			if set == nil {
				e.Annotations = nil
			}
			for key, v := range set {
				e.Annotations[key] = v
			}
			return e
		}

		out = append(out,
			k.signed("traps/01 "+name, signedKeyless, unsigned, func(s *signing) { s.attach("sig", hostile(s)) }),
			k.signed("traps/01 "+name+", before a good one", signedByKey, admitted(),
				func(s *signing) { s.attach("sig", hostile(s), k.key.Entry(s.simple())) }),
		)
	}
	return out
}

// rekorV2 is a bundle whose log entry says nothing of when.
func (k signers) rekorV2(s *signing, stamped bool) {
	e, err := k.sig.CA.AttestHashedRekordV2(SignerSubject, SignerIssuer, s.statement())
	check(err)
	m := k.sig.Message(e, stamped)
	entries, err := e.TlogEntries()
	check(err)
	tle := entries[0].TransparencyLogEntry()
	tle.InclusionPromise, tle.IntegratedTime = nil, 0
	tle.KindVersion = &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"}
	m.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{tle}
	b, err := protojson.Marshal(m)
	check(err)
	s.refer(b)
}

// malformed are bundles of trap 13, as many beside one base as are looked at,
// in every part that a bundle has. Nothing among them is a key's signature.
func (k signers) malformed(unsigned Want) []Case {
	const atOnce = 40
	var out []Case
	count := len(MalformedBundles(k.sig.Bundle(Statement(Sum(nil), SignPredicate), true)))
	for n := 0; n < count; n += atOnce {
		out = append(out, k.signed(fmt.Sprintf("traps/13 malformed bundles from %d", n), signedByKey, unsigned, func(s *signing) {
			bad := MalformedBundles(k.sig.Bundle(s.statement(), true))
			for _, b := range bad[n:min(n+atOnce, len(bad))] {
				s.refer(b)
			}
		}))
	}
	return out
}
