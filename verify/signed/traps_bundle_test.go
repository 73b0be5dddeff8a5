package signed_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/attestor-gate/attestor"
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
			leaf, priv, trusted := chain(t, end)
			k := &keyPair{t: t, priv: priv}
			e := k.entry(simple(h.image))
			e.annotations["dev.sigstore.cosign/certificate"] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
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
			h.must(err)
			entry, err := static.NewSignature(e.payload, e.annotations["dev.cosignproject.cosign/signature"], static.WithCertChain([]byte(e.annotations["dev.sigstore.cosign/certificate"]), nil))
			h.must(err)
			if _, err := cosign.VerifyImageSignature(t.Context(), entry, v1.Hash{Algorithm: "sha256", Hex: h.image.Digest().Hex()}, &cosign.CheckOpts{
				TrustedMaterial: tr, IgnoreTlog: true, IgnoreSCT: true, ClaimVerifier: cosign.SimpleClaimVerifier,
				Identities: []cosign.Identity{{Issuer: issuer, Subject: subject}},
			}); err != nil {
				t.Logf("cosign refuses it by itself now: %v", err)
			}
		})
	}
}

// chain makes a leaf under an intermediate that ends at end, and a trusted
// root without logs.
func chain(t *testing.T, end time.Time) (leaf *x509.Certificate, priv *ecdsa.PrivateKey, trusted string) {
	t.Helper()
	start := time.Now().Add(-3 * time.Hour)
	make1 := func(tmpl, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = tmpl, k
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, k.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, k
	}
	authority := func(name string, serial int64, until time.Time) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: until,
			KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true}
	}
	top, topKey := make1(authority("root", 1, time.Now().Add(24*time.Hour)), nil, nil)
	mid, midKey := make1(authority("intermediate", 2, end), top, topKey)
	leaf, priv = make1(&x509.Certificate{
		SerialNumber: big.NewInt(3), NotBefore: start.Add(time.Hour), NotAfter: time.Now().Add(12 * time.Hour), EmailAddresses: []string{subject},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)}},
	}, mid, midKey)
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{&root.FulcioCertificateAuthority{
		Root: top, Intermediates: []*x509.Certificate{mid}, ValidityPeriodStart: start, URI: "https://fulcio.localhost",
	}}, nil, nil, nil)
	return leaf, priv, writeRoot(t, tr, err)
}

// TestTrap13MalformedBundles: bundles with parts missing, which older
// libraries followed into nil.
func TestTrap13MalformedBundles(t *testing.T) {
	sig, key := newSigstore(t), newKey(t)
	h := plain(t)
	var whole map[string]any
	h.must(json.Unmarshal(sig.bundle(statement(h.image, signPredicate), true), &whole))
	var bad [][]byte
	for _, s := range []string{"", "null", "[]", "{}", `{"mediaType":"` + bundleMedia + `"}`, `{"mediaType":1}`, strings.Repeat("[", 10000),
		`{"mediaType":"` + bundleMedia + `","dsseEnvelope":null,"verificationMaterial":null}`,
		`{"mediaType":"` + bundleMedia + `","verificationMaterial":{"publicKey":{}},"messageSignature":{}}`,
		`{"mediaType":"` + bundleMedia + `","verificationMaterial":{"tlogEntries":[null]},"dsseEnvelope":{"signatures":[null]}}`} {
		bad = append(bad, []byte(s))
	}
	bad = append(bad, pruned(t, whole)...)
	if len(bad) < 40 {
		t.Fatalf("only %d malformed bundles", len(bad))
	}
	ch := checker(t, signed.Config{Limits: signed.Limits{Candidates: 1000}})
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

// pruned is the document with each of its parts left out, or replaced by
// something empty.
func pruned(t *testing.T, doc map[string]any) [][]byte {
	t.Helper()
	var out [][]byte
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, child := range v {
				delete(v, k)
				out = append(out, mustJSON(t, doc))
				for _, other := range []any{nil, "", map[string]any{}, []any{}} {
					v[k] = other
					out = append(out, mustJSON(t, doc))
				}
				v[k] = child
				walk(child)
			}
		case []any:
			for i, child := range v {
				v[i] = nil
				out = append(out, mustJSON(t, doc))
				v[i] = child
				walk(child)
			}
		}
	}
	walk(doc)
	return out
}
