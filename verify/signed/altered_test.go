package signed_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	certificateKey = "dev.sigstore.cosign/certificate"
	logKey         = "dev.sigstore.cosign/bundle"
	stampKey       = "dev.sigstore.cosign/rfc3161timestamp"
	signatureKey   = "dev.cosignproject.cosign/signature"
)

// in-toto's validation model: a statement is of the type that its layer defines,
// and is rejected where none of its subjects is the artifact. Beside the artifact
// it may name other results of the same build.
func TestStatementsAreAboutTheImage(t *testing.T) {
	img, err := attestor.ParseImage("example.com/base@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}

	mine, other := img.Digest().Hex(), strings.Repeat("b", 64)
	subject := func(algorithm, hex string) string {
		return fmt.Sprintf(`{"name":"x","digest":{%q:%q}}`, algorithm, hex)
	}

	text := func(kind string, subjects ...string) string {
		return fmt.Sprintf(`{"_type":%q,"predicateType":"p","subject":[%s]}`, kind, strings.Join(subjects, ","))
	}

	const v1Type, v01Type = "https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"

	for name, tt := range map[string]struct{ payload, want string }{ // "": it is accepted
		"version 1":              {text(v1Type, subject("sha256", mine)), ""},
		"version 0.1":            {text(v01Type, subject("sha256", mine)), ""},
		"the second of two":      {text(v1Type, subject("sha256", other), subject("sha256", mine)), ""},
		"another":                {text(v1Type, subject("sha256", other)), "another digest"},
		"none":                   {text(v1Type), "another digest"},
		"by another algorithm":   {text(v1Type, subject("sha512", mine)), "another digest"},
		"without an algorithm":   {text(v1Type, `{"name":"x"}`), "another digest"},
		"in capitals":            {text(v1Type, subject("sha256", strings.ToUpper(mine))), "another digest"},
		"of another type":        {text("https://example.com/Statement/v1", subject("sha256", mine)), `of type "https://example.com/Statement/v1"`},
		"of no type":             {text("", subject("sha256", mine)), `of type ""`},
		"no JSON":                {"statement", "malformed"},
		"a subject of no object": {text(v1Type, `"x"`, subject("sha256", mine)), "malformed"},
	} {
		st, err := signed.NewStatement([]byte(tt.payload), img)
		if tt.want == "" {
			if err != nil || st.PredicateType != "p" || string(st.Payload) != tt.payload {
				t.Errorf("%s: %+v, %v", name, st, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || st.PredicateType != "" {
			t.Errorf("%s: %+v, %v; want %q", name, st, err, tt.want)
		}
	}
}

// cosign's signature specification: the log entry's annotation has the entry's
// body in base64, the time at which it was integrated, and the log's id in
// hexadecimal digits. Whatever lacks one of them proves nothing.
func TestLogEntriesOfClassicSignatures(t *testing.T) {
	good := func() map[string]any {
		return map[string]any{
			"SignedEntryTimestamp": "c2V0",
			"Payload":              map[string]any{"body": "Ym9keQ==", "integratedTime": 1700000000, "logIndex": 1, "logID": "abcd"},
		}
	}

	payload := func(member string, value any) func(map[string]any) {
		return func(e map[string]any) {
			p, ok := e["Payload"].(map[string]any)
			if !ok {
				t.Fatal("no payload")
			}
			p[member] = value
		}
	}

	const malformed = "transparency log entry is malformed"

	for name, tt := range map[string]struct {
		change func(map[string]any)
		want   string
	}{
		"whole":                     {func(map[string]any) {}, ""},
		"at the first second":       {payload("integratedTime", 1), ""},
		"a promise that is no text": {func(e map[string]any) { e["SignedEntryTimestamp"] = 5 }, malformed},
		"no body":                   {payload("body", nil), malformed},
		"an empty body":             {payload("body", ""), malformed},
		"a body that is no text":    {payload("body", 5), malformed},
		"a body that is no base64":  {payload("body", "!!"), malformed},
		"no time":                   {payload("integratedTime", 0), malformed},
		"a time before all time":    {payload("integratedTime", -1), malformed},
		"a log that is no number":   {payload("logID", "xyz"), malformed},
	} {
		e := good()
		tt.change(e)
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}

		err = signed.RekorBundle(string(text))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}

	if err := signed.RekorBundle("{"); err == nil || !strings.Contains(err.Error(), malformed) {
		t.Errorf("no JSON: %v", err)
	}
	if err := signed.RekorBundle(""); err == nil || !strings.Contains(err.Error(), "no transparency log entry") {
		t.Errorf("none: %v", err)
	}
}

func TestCertificatesOfClassicSignatures(t *testing.T) {
	sig := newSigstore(t)
	one := sig.entry([]byte("x")).annotations[certificateKey]
	two := sig.entry([]byte("x")).annotations[certificateKey]

	for name, tt := range map[string]struct{ text, want string }{
		"one":         {one, ""},
		"none":        {"", "made with a key"},
		"two":         {one + two, "certificate is malformed"},
		"no PEM":      {"x", "certificate is malformed"},
		"cut in half": {one[:len(one)/2], "certificate is malformed"},
	} {
		err := signed.OneCertificate(tt.text)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// stampText is cosign's annotation for a timestamp.
func stampText(t *testing.T, response []byte) string {
	t.Helper()
	text, err := json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": response})
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}

// RFC 3161, 2.2: a timestamp counts if it is of an authority that is trusted,
// and about these very bytes.
func TestTimestampsOfClassicSignatures(t *testing.T) {
	sig, stranger := newSigstore(t), newSigstore(t)
	about := []byte("a signature")
	stamp := func(s *sigstore, b []byte) []byte {
		response, err := s.ca.TimestampResponse(b)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}

	trusted, err := root.NewTrustedRootFromPath(sig.root(false))
	if err != nil {
		t.Fatal(err)
	}

	before := time.Now().Add(-time.Minute)

	for name, tt := range map[string]struct{ text, want string }{
		"good":              {stampText(t, stamp(sig, about)), ""},
		"of other bytes":    {stampText(t, stamp(sig, []byte("another signature"))), "does not verify"},
		"of a stranger":     {stampText(t, stamp(stranger, about)), "does not verify"},
		"no timestamp":      {stampText(t, []byte("x")), "does not verify"},
		"empty":             {stampText(t, nil), "is malformed"},
		"without":           {`{}`, "is malformed"},
		"no JSON":           {`x`, "is malformed"},
		"given twice":       {strings.TrimSuffix(stampText(t, stamp(sig, about)), "}") + `,"SignedRFC3161Timestamp":5}`, "is malformed"},
		"JSON of no object": {`["` + base64.StdEncoding.EncodeToString(stamp(sig, about)) + `"]`, "is malformed"},
	} {
		at, err := signed.Timestamp(tt.text, about, trusted)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if (tt.want == "") != at.After(before) {
			t.Errorf("%s: it is of %s", name, at)
		}
	}
}

// A timestamp beside a classic signature is optional. One that is there must
// verify, or its time would count unproven; where the rule trusts no authority
// it does not count at all.
func TestClassicSignaturesWithATimestamp(t *testing.T) {
	sig, key := newSigstore(t), newKey(t)
	h := plain(t)
	raw := func(e entry) []byte {
		b, err := base64.StdEncoding.DecodeString(e.annotations[signatureKey])
		h.Must(err)
		return b
	}

	stamped := func(e entry, about []byte) entry {
		response, err := sig.ca.TimestampResponse(about)
		h.Must(err)
		e.annotations[stampKey] = stampText(t, response)
		return e
	}

	keyless, byKey := sig.entry(simple(h.image)), key.entry(simple(h.image))

	h.attach(h.image, "sig", stamped(keyless, raw(keyless)))
	if _, err := h.check(h.image, sig.rule()); err != nil {
		t.Errorf("of its signature: %v", err)
	}

	h.attach(h.image, "sig", stamped(keyless, []byte("something else")))
	got, err := h.check(h.image, sig.rule())
	refused(t, got, err, "found one: its timestamp does not verify")
	h.attach(h.image, "sig", stamped(byKey, []byte("something else")))
	if _, err := h.check(h.image, key.rule()); err != nil {
		t.Errorf("for a rule without authorities: %v", err)
	}

	whole, err := root.NewTrustedRootFromPath(sig.root(false))
	h.Must(err)
	untimed, err := root.NewTrustedRoot(root.TrustedRootMediaType01, whole.FulcioCertificateAuthorities(), nil, nil, whole.RekorLogs())
	h.Must(err)
	text, err := untimed.MarshalJSON()
	h.Must(err)
	rule := sig.rule()
	rule.TrustedRoot = file(t, text)
	h.attach(h.image, "sig", stamped(sig.entry(simple(h.image)), []byte("something else")))
	if _, err := h.check(h.image, rule); err != nil {
		t.Errorf("for a root without authorities: %v", err)
	}

	broken := key.entry(simple(h.image))
	broken.annotations[signatureKey] = "YWJj!"
	h.attach(h.image, "sig", broken)
	got, err = h.check(h.image, key.rule())
	refused(t, got, err, "found one: it lacks a signature")
}

// A signature that cannot be read may be the one that satisfies the rule: the
// answer is unknown. One that is too large, or whose bytes are not there, is
// none. Neither voids a good one behind it.
func TestClassicSignaturesThatCannotBeRead(t *testing.T) {
	key, other := newKey(t), newKey(t)
	for _, suffix := range []string{"sig", "att"} {
		for name, tt := range map[string]struct {
			size   int
			status int // of the first blob
			unread bool
			flaw   string
		}{
			"failing":   {0, http.StatusInternalServerError, true, ""},
			"missing":   {0, http.StatusNotFound, false, "found one: its blob is missing"},
			"too large": {9 << 20, 0, false, "bytes, at most"},
		} {
			t.Run(suffix+"/"+name, func(t *testing.T) {
				h := plain(t)
				bad, good := other.entry(simple(h.image)), key.entry(simple(h.image))
				if suffix == "att" {
					bad, good = other.envelope(statement(h.image, "p")), key.envelope(statement(h.image, "p"))
				}

				bad.payload = append(bad.payload, strings.Repeat(" ", 1+tt.size)...) // so that the two are not one blob
				first, err := static.NewLayer(bad.payload, bad.media).Digest()
				h.Must(err)
				intercept := func(w http.ResponseWriter, r *http.Request) bool {
					if tt.status == 0 || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, first.String()) {
						return false
					}
					w.WriteHeader(tt.status)
					return true
				}

				ask := func() (bool, error) {
					if suffix == "sig" {
						_, err := h.check(h.image, key.rule())
						return err == nil, err
					}
					list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, key.rule(), []string{"p"})
					return len(list) == 1, err
				}

				h.attach(h.image, suffix, bad)
				h.Intercept(intercept)
				ok, err := ask()

				switch {
				case ok:
					t.Error("it satisfies the rule")

				case tt.unread:
					unknown(t, "", err, "could not be checked")

				case suffix == "sig":
					refused(t, "", err, tt.flaw)

				case tt.size > 0:
					unknown(t, "", err, "was not read: it has") // it may be the one that is asked for

				case err != nil:
					t.Error(err)
				}

				h.Intercept(nil)
				h.attach(h.image, suffix, bad, good)
				h.Intercept(intercept)
				if ok, err := ask(); !ok {
					t.Errorf("with a good one behind it: %v", err)
				}
			})
		}
	}
}

// What lies under the .att tag and is no envelope is left alone, whatever it is.
func TestOnlyEnvelopesAreAttestations(t *testing.T) {
	key, h := newKey(t), plain(t)
	e := key.envelope(statement(h.image, "p"))
	e.media = "application/vnd.in-toto+json"
	h.attach(h.image, "att", e)
	list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, key.rule(), []string{"p"})
	if err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}

	h.attach(h.image, "att", key.envelope(statement(h.image, "p")), key.envelope(statement(h.image, "q")))
	list, _, err = checker(t, signed.Config{}).Attestations(t.Context(), h.image, key.rule(), []string{"p"})
	if err != nil || len(list) != 1 || list[0].PredicateType != "p" || !strings.HasPrefix(list[0].Signer, "key sha256:") {
		t.Errorf("%+v, %v", list, err)
	}
}

// OCI distribution specification: a referrer is a manifest whose subject is the
// digest. The list's entry only says where it is.
func TestReferrersThatAreBundles(t *testing.T) {
	h := plain(t)
	blob := []byte(`{"bundle":1}`)
	subject, err := remote.Head(h.Repo.Digest(string(h.image.Digest())))
	h.Must(err)
	strange, err := remote.Head(h.Repo.Digest(string(h.Push().Digest())))
	h.Must(err)
	write := func(about *v1.Descriptor, layers ...mutate.Addendum) v1.Descriptor {
		m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
		h.Must(err)
		if about != nil {
			m, _ = mutate.Subject(m, *about).(v1.Image) //nolint:errcheck // an image stays one
		}

		h.Must(remote.Write(h.Repo.Digest(h.Digest(m)), m))
		desc, err := remote.Head(h.Repo.Digest(h.Digest(m)))
		h.Must(err)
		return *desc
	}

	bundle := mutate.Addendum{Layer: static.NewLayer(blob, bundleMedia)}
	sbom := mutate.Addendum{Layer: static.NewLayer([]byte(`{"spdx":1}`), "application/spdx+json")}
	ch := checker(t, signed.Config{})
	sized := func(size int64) v1.Descriptor { d := write(subject, bundle); d.Size = size; return d }
	foreign := write(subject, bundle)
	foreign.Digest.Algorithm = "sha512"

	for name, tt := range map[string]struct {
		desc v1.Descriptor
		want bool
		flaw string
	}{
		"a bundle":                    {write(subject, bundle), true, ""},
		"of the largest size":         {sized(4 << 20), true, ""},
		"larger than that":            {sized(4<<20 + 1), false, ""},
		"by another algorithm":        {foreign, false, ""},
		"an SBOM":                     {write(subject, sbom), false, ""},
		"no layer":                    {write(subject), false, ""},
		"two bundles":                 {write(subject, bundle, bundle), false, ""},
		"of another image":            {write(strange, bundle), false, "another digest"},
		"of no image":                 {write(nil, bundle), false, "another digest"},
		"a manifest that is not here": {v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}, false, ""},
	} {
		b, flaw, err := signed.Referrer(t.Context(), ch, h.image, tt.desc)
		if err != nil || (string(b) == string(blob)) != tt.want || (len(b) != 0) != tt.want ||
			!strings.Contains(flaw, tt.flaw) || (flaw == "") != (tt.flaw == "") {
			t.Errorf("%s: %q, flaw %q, %v", name, b, flaw, err)
		}
	}

	// What was read and is no manifest is no bundle; what could not be read is not known. What another algorithm names is
	// not asked for.
	desc := write(subject, bundle)
	text := []byte("no manifest")
	hash, _, err := v1.SHA256(bytes.NewReader(text))
	h.Must(err)

	for name, tt := range map[string]struct {
		desc   v1.Descriptor
		status int
		fails  bool
	}{
		"failing":               {desc, http.StatusInternalServerError, true},
		"forbidden":             {desc, http.StatusForbidden, true},
		"not found":             {desc, http.StatusNotFound, false},
		"text":                  {v1.Descriptor{Digest: hash}, http.StatusOK, false},
		"by another algorithm":  {foreign, http.StatusInternalServerError, false},
		"too large to be asked": {sized(4<<20 + 1), http.StatusInternalServerError, false},
	} {
		h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}

			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.WriteHeader(tt.status)
			_, _ = w.Write(text) // who leaves early is not the subject
			return true
		})

		b, flaw, err := signed.Referrer(t.Context(), ch, h.image, tt.desc)
		if (err != nil) != tt.fails || b != nil || flaw != "" {
			t.Errorf("%s: %q, flaw %q, %v", name, b, flaw, err)
		}

		h.Intercept(nil)
	}
}
