package signed_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// recordings are what the real programs pushed, by manifest.
func recordings(f *testing.F) (pub string, manifests []v1.Manifest, blobs map[string][]byte) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "cosign-cli", "v*", "recording.json"))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds")
	}

	blobs = map[string][]byte{}
	for _, file := range files {
		pub = filepath.Join(filepath.Dir(file), "cosign.pub")
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}

		var r recorded
		if err := json.Unmarshal(b, &r); err != nil {
			f.Fatal(err)
		}

		for d, blob := range r.Blobs {
			blobs[d] = blob
		}

		for _, p := range r.Pushes {
			var m v1.Manifest
			if err := json.Unmarshal([]byte(p.Manifest), &m); err != nil {
				f.Fatal(err)
			}
			manifests = append(manifests, m)
		}
	}

	return pub, manifests, blobs
}

// never is a rule that nothing in a corpus satisfies: its key was made just now
// and has signed nothing.
func never(f *testing.F) (*signed.Checker, attestor.Image, []attestor.SignedBy) {
	f.Helper()
	img, err := attestor.ParseImage("127.0.0.1:5000/base/debian@sha256:" + strings.Repeat("ab", 32))
	if err != nil {
		f.Fatal(err)
	}

	return checker(f, signed.Config{}), img, []attestor.SignedBy{newKey(f).rule(), newSigstore(f).rule()}
}

// FuzzBundle: no bytes make a panic, or a signature by somebody who made none.
func FuzzBundle(f *testing.F) {
	_, manifests, blobs := recordings(f)
	seeds := 0

	for _, m := range manifests {
		if len(m.Layers) == 1 && strings.HasPrefix(string(m.Layers[0].MediaType), bundleMedia) {
			f.Add(blobs[m.Layers[0].Digest.String()])
			seeds++
		}
	}

	if seeds < 4 {
		f.Fatalf("only %d seeds", seeds)
	}

	ch, img, rules := never(f)
	s := newSigstore(f)
	f.Add(s.bundle(statement(img, signPredicate), true))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, rule := range rules {
			if _, err := signed.VerifyBundle(t.Context(), ch, img, b, rule); err == nil || strings.Contains(err.Error(), "panicked") {
				t.Errorf("%v of %q", err, b)
			}
		}
	})
}

// FuzzClassic: likewise for payloads and annotations.
func FuzzClassic(f *testing.F) {
	_, manifests, blobs := recordings(f)
	ch, img, rules := never(f)
	seeds := 0

	for _, m := range manifests {
		for _, l := range m.Layers {
			a := l.Annotations
			if sig, ok := a["dev.cosignproject.cosign/signature"]; ok {
				f.Add(blobs[l.Digest.String()], sig, a["dev.sigstore.cosign/certificate"],
					a["dev.sigstore.cosign/bundle"], a["dev.sigstore.cosign/rfc3161timestamp"])
				seeds++
			}
		}
	}

	if seeds < 4 {
		f.Fatalf("only %d seeds", seeds)
	}

	e := newSigstore(f).entry(simple(img))
	f.Add(e.payload, e.annotations["dev.cosignproject.cosign/signature"],
		e.annotations["dev.sigstore.cosign/certificate"], e.annotations["dev.sigstore.cosign/bundle"], "{}")
	f.Fuzz(func(t *testing.T, payload []byte, sig, cert, bundle, stamp string) {
		annotations := map[string]string{"dev.cosignproject.cosign/signature": sig,
			"dev.sigstore.cosign/certificate": cert, "dev.sigstore.cosign/bundle": bundle,
			"dev.sigstore.cosign/rfc3161timestamp": stamp}
		for _, rule := range rules {
			for _, attestation := range []bool{false, true} {
				if err := signed.VerifyClassic(t.Context(), ch, img, payload, annotations, rule,
					attestation); err == nil || strings.Contains(err.Error(), "panicked") {
					t.Errorf("%v of %q", err, payload)
				}
			}
		}
	})
}

// TestPanicsEverywhere: a panic in what lies between, such as the registry
// library or the caller's transport, is an answer that is not known.
func TestPanicsEverywhere(t *testing.T) {
	h, key := plain(t), newKey(t)
	ch := checker(t, signed.Config{Transport: transport(func(r *http.Request) (*http.Response, error) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			panic("hostile")
		}
		return http.DefaultTransport.RoundTrip(r)
	})})

	got, err := ch.Check(t.Context(), h.image, key.rule())
	unknown(t, got, err, "could not be checked")
	_, _, err = ch.Attestations(t.Context(), h.image, key.rule(), []string{"p"})
	unknown(t, "", err, "could not be checked")
}
