package summary_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/summary"
)

// former is the public half of a key that is not used any more.
func (w *world) former(k pair) summary.Key {
	w.t.Helper()
	key, err := summary.NewFormerKey(k.public)
	w.Must(err)
	return key
}

// What a former key signed is replaced by the next pass, though it says the same, and goes with a revocation.
func TestAFormerKey(t *testing.T) {
	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, handler(t, true))
			before, now := w.p256(), w.p256()
			p := w.publisher(now, func(c *summary.Config) { c.Former = []summary.Key{w.former(before)} })
			old := w.publish(w.publisher(before), judged{image: w.image}).Standing[0]

			// It counts for nothing: neither as what stands, nor as what may be reused.
			auth := w.authorized(judged{image: w.image})
			if got, err := p.Stands(t.Context(), auth.Images(), auth.Policy(), attestor.SummaryNeeds{}); err != nil || len(got) != 0 {
				t.Errorf("by a former key stands %+v, %v", got, err)
			}
			made := w.publish(p, judged{image: w.image})
			if s := made.Standing[0]; !s.Created || s.Reference == old.Reference || len(made.Left) != 0 {
				t.Errorf("published %+v", made)
			}
			if got := w.attached(w.image); len(got) != 1 {
				t.Errorf("%d statements are attached, want the new one", len(got))
			}
			if got := w.publish(p, judged{image: w.image}).Standing[0]; got.Created || got.Reference != made.Standing[0].Reference {
				t.Errorf("the second pass published %+v", got)
			}

			// A revocation takes what either key signed.
			other := w.Push()
			w.publish(w.publisher(before), judged{image: other})
			gone, left, err := p.Revoke(t.Context(), []attestor.Image{w.image, other}, []attestor.SummaryNeeds{{}})
			if err != nil || len(gone) != 2 || len(left) != 0 || len(w.attached(w.image)) != 0 || len(w.attached(other)) != 0 {
				t.Errorf("revoked: gone %+v, left %+v, %v", gone, left, err)
			}

			// A key that is a former one and the present one, too, deletes nothing that stands.
			q := w.publisher(now, func(c *summary.Config) { c.Former = []summary.Key{w.former(now)} })
			w.publish(q, judged{image: w.image})
			if got := w.publish(q, judged{image: w.image}).Standing[0]; got.Created || len(w.attached(w.image)) != 1 {
				t.Errorf("published %+v, attached %d", got, len(w.attached(w.image)))
			}
		})
	}
}

// A file of former keys that cannot be used is refused, and so is a private key.
func TestFormerKeyFiles(t *testing.T) {
	w := newWorld(t, registries.Kinds()["referrers API"](t, true))
	good := w.p256()
	public, err := os.ReadFile(good.public)
	w.Must(err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.Must(err)
	der, err := x509.MarshalPKIXPublicKey(p384.Public())
	w.Must(err)
	for name, text := range map[string]string{
		"nothing": "", "no PEM": "gate", "two": string(public) + string(public),
		"garbage": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"P-384":   string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"large":   string(public) + strings.Repeat("\n", 65<<10),
	} {
		path := filepath.Join(t.TempDir(), "key.pem")
		w.Must(os.WriteFile(path, []byte(text), 0o600))
		_, err := summary.NewFormerKey(path)
		if wantCode(t, err, attestor.CodeSigningFailed); t.Failed() {
			t.Fatalf("%s: %v", name, err)
		}
	}
	_, err = summary.NewFormerKey(good.file)
	wantCode(t, err, attestor.CodeSigningFailed)
	if _, err := summary.NewFormerKey(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is a key")
	}
}
