package signed_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// keys answers for KMS.
type keys struct {
	pem []byte
	err error
	n   int
}

func (k *keys) PublicKey(ctx context.Context, uri string) ([]byte, error) {
	k.n++
	switch {
	case !strings.HasPrefix(uri, "gcpkms://projects/"):
		return nil, errors.New("unexpected key")
	case k.err != nil:
		return nil, k.err
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return k.pem, nil
}

// TestKMSKey: fetched once per lifetime; also on curves where the key version
// prescribes another digest; not fetched is not known.
func TestKMSKey(t *testing.T) {
	const uri = "gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		h, key := plain(t), newKeyOn(t, curve)
		h.attach(h.image, "sig", key.entry(simple(h.image)))
		k := &keys{err: errors.New("down")}
		ch := checker(t, signed.Config{Keys: k})
		got, err := ch.Check(t.Context(), h.image, attestor.SignedBy{Key: uri})
		unknown(t, got, err, "could not be fetched")
		k.err, k.pem = nil, publicPEM(t, key.priv.Public())

		for range 3 {
			if _, err := ch.Check(t.Context(), h.image, attestor.SignedBy{Key: uri}); err != nil {
				t.Fatal(err)
			}
		}

		if k.n != 2 {
			t.Errorf("asked %d times, want once for the failure and once more", k.n)
		}
	}
}

// TestKeyTypes: each is accepted for what it signed, classic and bundled, and
// a short one not at all.
func TestKeyTypes(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	types := map[string]crypto.Signer{"Ed25519": ed}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		if types[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}

	for name, bits := range map[string]int{"RSA 2048": 2048, "RSA 3072": 3072, "RSA 2048, PSS": 2048, "RSA 3072, PSS": 3072} {
		if types[name], err = rsa.GenerateKey(rand.Reader, bits); err != nil {
			t.Fatal(err)
		}
	}

	for name, priv := range types {
		t.Run(name, func(t *testing.T) {
			key := keyOf(t, priv)
			key.PSS = strings.HasSuffix(name, "PSS")
			h := plain(t)
			h.attach(h.image, "sig", key.entry(simple(h.image)))
			if _, err := h.check(h.image, key.rule()); err != nil {
				t.Errorf("classic: %v", err)
			}

			other := h.Push()
			h.refer(other, bundleMedia, key.bundle(statement(other, signPredicate)))
			if _, err := h.check(other, key.rule()); err != nil {
				t.Errorf("bundle: %v", err)
			}

			got, err := h.check(h.image, newKey(t).rule())
			refused(t, got, err, "does not verify")
		})
	}

	const short = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCrbmKivPZhFPmK5Bg3NyyOgC+M
BRXMBcIJ0YWWwqHZOlHGv8i1IlwrT3x0mQa0L7WfG73U78611qxllRDQjQZwCZuF
Tw8Zf4Ta9CX2X5MIzff2JpQHgsSQWO1JJMWF1pcivCrkrDzrQHu8ykWbC7txiQTv
Dt/U3VhRyvxVqSF8DQIDAQAB
-----END PUBLIC KEY-----
`

	h := plain(t)
	got, err := h.check(h.image, attestor.SignedBy{Key: file(t, []byte(short))})
	unknown(t, got, err, "not a public key that can be used")
	if !strings.Contains(err.Error(), "too short") {
		t.Errorf("refused for another reason: %v", err)
	}
}
