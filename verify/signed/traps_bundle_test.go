package signed_test

import (
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify/signed"
)

// TestTrap12ExpiredIntermediate: cosign holds the leaf alone to the time of
// signing, so that without a log a leaf issued under an expired intermediate
// passes (GO-2026-4529). The whole chain must have been valid.
func TestTrap12ExpiredIntermediate(t *testing.T) {
	for name, expired := range map[string]bool{"valid": false, "expired": true} {
		t.Run(name, func(t *testing.T) {
			h := plain(t)
			end := time.Now().Add(time.Hour)
			if expired {
				end = time.Now().Add(-time.Minute)
			}

			signature, trustedRoot := corpus.Chained(simple(h.image), end)
			e, trusted := entryOf(signature), file(t, trustedRoot)
			h.attach(h.image, "sig", e)
			no := false
			rule := attestor.SignedBy{Issuer: issuer, Subject: subject, Transparency: &no, TrustedRoot: trusted}
			got, err := h.check(h.image, rule)
			if !expired {
				if err != nil {
					t.Fatal(err)
				}
				return
			}

			refused(t, got, err, "or one above it, was not valid")

			// What cosign alone says of it: without this the test shows nothing.
			tr, err := root.NewTrustedRootFromPath(trusted)
			h.Must(err)
			entry, err := static.NewSignature(e.payload, e.annotations["dev.cosignproject.cosign/signature"],
				static.WithCertChain([]byte(e.annotations["dev.sigstore.cosign/certificate"]), nil))
			h.Must(err)
			if _, err := cosign.VerifyImageSignature(t.Context(), entry, v1.Hash{Algorithm: "sha256", Hex: h.image.Digest().Hex()}, &cosign.CheckOpts{
				TrustedMaterial: tr, IgnoreTlog: true, IgnoreSCT: true, ClaimVerifier: cosign.SimpleClaimVerifier,
				Identities: []cosign.Identity{{Issuer: issuer, Subject: subject}},
			}); err != nil {
				t.Logf("cosign refuses it by itself now: %v", err)
			}
		})
	}
}

// TestTrap13MalformedBundles: bundles with parts missing, which older
// libraries followed into nil.
func TestTrap13MalformedBundles(t *testing.T) {
	sig, key := newSigstore(t), newKey(t)
	h := plain(t)
	bad := corpus.MalformedBundles(sig.bundle(statement(h.image, signPredicate), true))
	if len(bad) < 40 {
		t.Fatalf("only %d malformed bundles", len(bad))
	}

	ch := checker(t, signed.Config{})
	passed := 0 // some parts do not matter, such as hints

	for i, b := range bad {
		img := h.image
		_, err := signed.VerifyBundle(t.Context(), ch, img, b, sig.rule())
		_, keyErr := signed.VerifyBundle(t.Context(), ch, img, b, key.rule())
		if err == nil {
			passed++
		}
		if keyErr == nil {
			t.Errorf("bundle %d satisfies a key that never signed", i)
		}
	}

	t.Logf("%d of %d mutilated bundles verify", passed, len(bad))
	if passed > len(bad)/2 {
		t.Errorf("%d of %d malformed bundles verify", passed, len(bad))
	}
}
