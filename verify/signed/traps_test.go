package signed_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify/signed"
)

// to work against it, and that the Checker survives.

// TestTrap01HostileAnnotations: annotations that crash cosign from goroutines
// of its own, where nothing can recover them.
func TestTrap01HostileAnnotations(t *testing.T) {
	sig, key := newSigstore(t), newKey(t)
	for name, set := range corpus.HostileAnnotations() {
		t.Run(name, func(t *testing.T) {
			h := plain(t)
			bad := sig.entry(simple(h.image))
			if set == nil {
				bad.annotations = nil
			}

			for k, v := range set {
				bad.annotations[k] = v
			}

			h.attach(h.image, "sig", bad)
			for _, rule := range []attestor.SignedBy{sig.rule(), key.rule()} {
				got, err := h.check(h.image, rule)
				refused(t, got, err, "found one")
			}

			// A good one behind it counts all the same.
			h.attach(h.image, "sig", bad, sig.entry(simple(h.image)), key.entry(simple(h.image)))
			for _, rule := range []attestor.SignedBy{sig.rule(), key.rule()} {
				if _, err := h.check(h.image, rule); err != nil {
					t.Error(err)
				}
			}

			// The same in attestations.
			bad.media, bad.payload = "application/vnd.dsse.envelope.v1+json",
				[]byte(`{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":""}]}`)
			h.attach(h.image, "att", bad)
			list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, sig.rule(), []string{signPredicate})
			if err != nil || len(list) > 0 {
				t.Errorf("attestations: %v, %v", list, err)
			}
		})
	}
}

// TestTrap02DecompressionBomb: a small gzip referrer that cosign inflates
// whole; ours reads what is stored.
func TestTrap02DecompressionBomb(t *testing.T) {
	h, key := plain(t), newKey(t)
	var bomb bytes.Buffer
	z, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}

	zeros := make([]byte, 1<<20)
	for range 200 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}

	if err := z.Close(); err != nil {
		t.Fatal(err)
	}

	h.refer(h.image, bundleMedia, bomb.Bytes())
	h.refer(h.image, bundleMedia, bytes.Repeat([]byte{' '}, 3<<20)) // beyond what is read at all
	ch := checker(t, signed.Config{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := ch.Check(t.Context(), h.image, key.rule())
	runtime.ReadMemStats(&after)
	refused(t, got, err, "at most")
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<20 {
		t.Errorf("allocated %d MB for a bomb of %d KB", grown>>20, bomb.Len()>>10)
	}
}

// TestTrap03TrailingBytes: blobs whose readers cosign never closes take the
// puller's slots one by one, until every later look-up hangs.
func TestTrap03TrailingBytes(t *testing.T) {
	h, key := plain(t), newKey(t)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte("{}"))
	_ = z.Close()

	for i := range 12 {
		h.refer(h.image, bundleMedia, append(bytes.Clone(b.Bytes()), fmt.Sprintf("trailing %d", i)...))
	}

	ch := checker(t, signed.Config{})
	for range 3 {
		got, err := ch.Check(t.Context(), h.image, key.rule())
		refused(t, got, err, "found 12")
	}

	good := h.Push()
	h.refer(good, bundleMedia, key.bundle(statement(good, signPredicate)))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := ch.Check(ctx, good, key.rule()); err != nil {
		t.Fatal(err)
	}
}

// TestTrap04MovedSignature: a good signature of another image, put where this
// image's would be.
func TestTrap04MovedSignature(t *testing.T) {
	h, key, sig := plain(t), newKey(t), newSigstore(t)
	other := h.Push()
	h.attach(h.image, "sig", key.entry(simple(other)), sig.entry(simple(other)))
	h.refer(h.image, bundleMedia, key.bundle(statement(other, signPredicate)))
	h.refer(h.image, bundleMedia, sig.bundle(statement(other, signPredicate), true))
	h.attach(h.image, "att", key.envelope(statement(other, "p")))

	for _, rule := range []attestor.SignedBy{key.rule(), sig.rule()} {
		got, err := h.check(h.image, rule)
		refused(t, got, err, "another digest")
	}

	if list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, key.rule(), []string{"p", signPredicate}); err != nil || len(list) > 0 {
		t.Errorf("attestations: %v, %v", list, err)
	}
}

// TestTrap05EmptyIdentity: cosign takes anyone's certificate where no
// identity is asked for, and matches patterns anywhere in a subject.
func TestTrap05EmptyIdentity(t *testing.T) {
	h, sig := plain(t), newSigstore(t)
	h.attach(h.image, "sig", sig.entryBy(simple(h.image), "x"+subject+".evil.example", issuer))
	trusted := sig.root(false)

	for name, rule := range map[string]attestor.SignedBy{
		"nobody":              {TrustedRoot: trusted},
		"issuer only":         {Issuer: issuer, TrustedRoot: trusted},
		"subject only":        {Subject: subject, TrustedRoot: trusted},
		"pattern only":        {SubjectRegexp: ".*", TrustedRoot: trusted},
		"both subjects":       {Issuer: issuer, Subject: subject, SubjectRegexp: ".*", TrustedRoot: trusted},
		"key and identity":    {Key: newKey(t).path, Issuer: issuer, Subject: subject, TrustedRoot: trusted},
		"escapes its anchors": {Issuer: issuer, SubjectRegexp: `nobody)|(.*`, TrustedRoot: trusted},
		"not a pattern":       {Issuer: issuer, SubjectRegexp: `[`, TrustedRoot: trusted},
		"no trusted root":     {Issuer: issuer, Subject: subject},
		"missing root":        {Issuer: issuer, Subject: subject, TrustedRoot: trusted + "x"},
		"malformed root":      {Issuer: issuer, Subject: subject, TrustedRoot: file(t, []byte(`{"mediaType":"x"}`))},
		"empty root": {Issuer: issuer, Subject: subject, TrustedRoot: file(t,
			[]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))},
		"missing key":        {Key: "/nonexistent"},
		"empty key":          {Key: file(t, nil)},
		"two keys":           {Key: file(t, append(publicPEM(t, newKey(t).priv.Public()), publicPEM(t, newKey(t).priv.Public())...))},
		"unknown scheme":     {Key: "awskms://x"},
		"KMS without client": {Key: "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := h.check(h.image, rule)
			unknown(t, got, err, "signedBy")
			if err := checker(t, signed.Config{}).Validate(t.Context(), rule); err == nil {
				t.Error("Validate has no objection")
			}
		})
	}

	for _, pattern := range []string{`release@bases\.example\.com`, `^release@bases\.example\.com`,
		`release@bases\.example\.com$`, `(?m)^release@bases\.example\.com`, `nobody|release@bases\.example\.com`} {
		got, err := h.check(h.image, attestor.SignedBy{Issuer: issuer, SubjectRegexp: pattern, TrustedRoot: trusted})
		refused(t, got, err, "claims to be by x"+subject)
	}
}

// TestTrap06WrongPredicate: any attestation by the signer, even one that says
// no, passes for a signature where the predicate's type is not looked at.
func TestTrap06WrongPredicate(t *testing.T) {
	h, key, sig := plain(t), newKey(t), newSigstore(t)
	h.refer(h.image, bundleMedia, key.bundle(statement(h.image, "https://example.com/REJECTED/v1")))
	h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, "https://example.com/REJECTED/v1"), false))

	for _, rule := range []attestor.SignedBy{key.rule(), sig.rule()} {
		got, err := h.check(h.image, rule)
		refused(t, got, err, "REJECTED")
	}

	// An attestation under the signature's tag is not a signature either.
	h.attach(h.image, "sig", key.envelope(statement(h.image, signPredicate)))
	got, err := h.check(h.image, key.rule())
	refused(t, got, err, `dsse.envelope.v1+json", not a signature`)
}

// TestTrap07SeveralIdentities: the new verifier takes one identity only; a
// rule has one, and finds it among several signers.
func TestTrap07SeveralIdentities(t *testing.T) {
	h, sig := plain(t), newSigstore(t)
	for _, who := range []string{"a@example.com", subject, "b@example.com"} {
		h.refer(h.image, bundleMedia, sig.bundleBy(statement(h.image, signPredicate), who, issuer, true))
	}

	for _, who := range []string{"a@example.com", "b@example.com", subject} {
		got, err := h.check(h.image, attestor.SignedBy{Issuer: issuer, Subject: who, TrustedRoot: sig.root(false)})
		if err != nil || !strings.HasPrefix(got, who) {
			t.Errorf("%s: got %q, %v", who, got, err)
		}
	}

	got, err := h.check(h.image, attestor.SignedBy{Issuer: issuer, Subject: "c@example.com", TrustedRoot: sig.root(false)})
	refused(t, got, err, "found 3")
}

// TestTrap08KeyWithoutTrustedRoot: a key needs no trusted root, unless the
// rule asks for the log.
func TestTrap08KeyWithoutTrustedRoot(t *testing.T) {
	h, key := plain(t), newKey(t)
	h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))
	if _, err := h.check(h.image, key.rule()); err != nil {
		t.Fatal(err)
	}

	yes := true
	rule := attestor.SignedBy{Key: key.path, Transparency: &yes}
	got, err := h.check(h.image, rule)
	unknown(t, got, err, "trusted root")
	rule.TrustedRoot = newSigstore(t).root(false)
	h.attach(h.image, "sig", key.entry(simple(h.image)))
	got, err = h.check(h.image, rule)
	refused(t, got, err, "no transparency log entry")
}

// TestTrap09NoIntegratedTime: a Rekor v2 entry says nothing of when, so that
// the timestamp must; without one the certificate cannot be judged.
func TestTrap09NoIntegratedTime(t *testing.T) {
	sig := newSigstore(t)
	for _, stamped := range []bool{true, false} {
		h := plain(t)
		e, err := sig.ca.AttestHashedRekordV2(subject, issuer, statement(h.image, signPredicate))
		h.Must(err)
		m := sig.message(e, stamped)
		entries, err := e.TlogEntries()
		h.Must(err)
		tle := entries[0].TransparencyLogEntry()
		tle.InclusionPromise, tle.IntegratedTime = nil, 0
		tle.KindVersion = &protorekor.KindVersion{Kind: "hashedrekord", Version: "0.0.2"}
		m.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{tle}
		b, err := protojson.Marshal(m)
		h.Must(err)
		h.refer(h.image, bundleMedia, b)
		got, err := h.check(h.image, sig.rule())
		if stamped && err != nil {
			t.Errorf("with a timestamp: %v", err)
		}
		if !stamped {
			refused(t, got, err, "does not verify")
		}
	}
}

// TestTrap10LyingReferrers: what a list of referrers says of them is not to be
// believed, nor that it is a list.
func TestTrap10LyingReferrers(t *testing.T) {
	key := newKey(t)
	good := func(h *host) { h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate))) }

	t.Run("artifact type is wrong", func(t *testing.T) { // as cosign v2 itself writes it
		h := plain(t)
		good(h)
		if _, err := h.check(h.image, key.rule()); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("fallback tag is the image itself", func(t *testing.T) { // as one registry answers
		h := newHost(t, registries.Memory(false))
		h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			r.URL.Path = strings.Replace(r.URL.Path, "/sha256-"+h.image.Digest().Hex(), "/"+string(h.image.Digest()), 1)
			r.URL.Path = strings.TrimSuffix(r.URL.Path, ".sig")
			return false
		})

		got, err := h.check(h.image, key.rule())
		refused(t, got, err, "")
	})

	none := map[string]bool{"null": true, "sha512": true, "nothing is there": true} // nothing is left to look at
	for name, body := range corpus.LyingReferrers() {
		t.Run(name, func(t *testing.T) {
			h := plain(t)
			h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}

				w.Header().Set("Content-Type", string(types.OCIImageIndex))
				_, _ = w.Write([]byte(body))
				return true
			})

			got, err := h.check(h.image, key.rule())
			want := ""
			if none[name] {
				want = "it has none"
			}

			refused(t, got, err, want)
		})
	}

	t.Run("another image's bundle", func(t *testing.T) {
		h := plain(t)
		other := h.Push()
		h.refer(other, bundleMedia, key.bundle(statement(h.image, signPredicate)))
		h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/referrers/") {
				r.URL.Path = strings.Replace(r.URL.Path, string(h.image.Digest()), string(other.Digest()), 1)
			}
			return false
		})

		got, err := h.check(h.image, key.rule())
		refused(t, got, err, "refers to another digest")
	})
}

// TestTrap11Environment: cosign's variables change nothing, and nothing is
// fetched or kept by TUF.
func TestTrap11Environment(t *testing.T) {
	h, key, sig := plain(t), newKey(t), newSigstore(t)
	home := t.TempDir()
	foreign := file(t, publicPEM(t, newKey(t).priv.Public()))

	for k, v := range map[string]string{
		"COSIGN_REPOSITORY": "127.0.0.1:1/elsewhere", "COSIGN_MAX_ATTACHMENT_SIZE": "1", "COSIGN_EXPERIMENTAL": "1",
		"COSIGN_DOCKER_MEDIA_TYPES": "1", "SIGSTORE_ROOT_FILE": foreign, "SIGSTORE_REKOR_PUBLIC_KEY": foreign,
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE": foreign, "SIGSTORE_TSA_CERTIFICATE_FILE": foreign, "SIGSTORE_NO_CACHE": "false",
		"TUF_ROOT": home + "/tuf", "TUF_MIRROR": "http://127.0.0.1:1", "HOME": home,
	} {
		t.Setenv(k, v)
	}

	h.attach(h.image, "sig", key.entry(simple(h.image)), sig.entry(simple(h.image)))
	h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, signPredicate), true))

	for _, rule := range []attestor.SignedBy{key.rule(), sig.rule()} {
		if _, err := h.check(h.image, rule); err != nil {
			t.Error(err)
		}
	}

	if list, err := os.ReadDir(home); err != nil || len(list) > 0 {
		t.Errorf("left behind %v, %v", list, err)
	}

	t.Setenv("COSIGN_REPOSITORY", h.Repo.Name())
	got, err := h.check(h.Push(), key.rule())
	refused(t, got, err, "it has none")
}

// TestTrap12Deadline: the registry library forgets the context it is given
// through cosign; here a registry that never answers costs no more than the
// time allowed.
func TestTrap12Deadline(t *testing.T) {
	for _, path := range []string{".sig", "/referrers/", "/blobs/"} {
		t.Run(path, func(t *testing.T) {
			h, key := plain(t), newKey(t)
			h.attach(h.image, "sig", newKey(t).entry(simple(h.image)))
			h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, path) {
					<-r.Context().Done()
					return true
				}
				return false
			})

			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			got, err := within(t, signed.Config{}, 100*time.Millisecond).Check(ctx, h.image, key.rule())
			unknown(t, got, err, "in the time allowed")

			// Nor does it hang where the caller has all the time in the world.
			got, err = within(t, signed.Config{}, 50*time.Millisecond).Check(t.Context(), h.image, key.rule())
			unknown(t, got, err, "could not be checked")
			_, _, err = within(t, signed.Config{}, 50*time.Millisecond).Attestations(t.Context(), h.image, key.rule(), []string{"p"})
			if path == "/referrers/" {
				unknown(t, "", err, "could not be checked")
			}
		})
	}
}
