package provenance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/provenance"
)

// builder signs as Cloud Build does, with a key of the test's.
type builder struct {
	t    *testing.T
	priv *ecdsa.PrivateKey
	key  provenance.Key
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(priv.Public())
	must(t, err)
	return &builder{t, priv, provenance.Key{ID: "own", PEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}}
}

// sign returns the occurrence of img with a payload that the builder signed.
func (b *builder) sign(img attestor.Image, payload []byte) *grafeaspb.Occurrence {
	b.t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	sum := sha256.Sum256(dsse.PAE(payloadType, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, b.priv, sum[:])
	must(b.t, err)
	return &grafeaspb.Occurrence{
		ResourceUri: "https://" + img.String(), NoteName: "projects/verified-builder/notes/intoto_1",
		Details: &grafeaspb.Occurrence_Build{Build: &grafeaspb.BuildOccurrence{}},
		Envelope: &grafeaspb.Envelope{
			Payload: payload, PayloadType: payloadType, Signatures: []*grafeaspb.EnvelopeSignature{{Keyid: b.key.ID, Sig: sig}},
		},
	}
}

// of asks a Container Analysis with these occurrences of img.
func (b *builder) of(img attestor.Image, list ...*grafeaspb.Occurrence) ([]attestor.Provenance, []attestor.Problem) {
	b.t.Helper()
	s := sourceOf(b.t, &server{list: list}, provenance.Config{
		Keys: []provenance.Key{b.key}, ScanProjects: map[string]string{img.Registry(): "acme"},
	})
	return s.Provenance(b.t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
}

// TestOwnKeys: another builder's keys take the place of Google's.
func TestOwnKeys(t *testing.T) {
	img, list := occurrences(t, sample)
	b := newBuilder(t)
	resigned := proto.CloneOf(list[0])
	resigned.Envelope.Signatures = b.sign(img, list[0].Envelope.Payload).Envelope.Signatures
	got, problems := b.of(img, list[0], list[1], resigned)
	if len(got) != 1 || got[0].KeyID != "own" || len(problems) > 0 {
		t.Errorf("got %v, %v", got, problems)
	}

	// An empty list pins nothing, and so verifies nothing.
	none := sourceOf(t, &server{list: list}, provenance.Config{Keys: []provenance.Key{}})
	if got, problems := none.Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{}); len(got) > 0 || len(problems) != 1 {
		t.Errorf("without keys: %v, %v", got, fmt.Sprint(problems))
	}
}

// TestKeysThatAreNone: a key that cannot be read is an error at the start, and not a key that verifies nothing.
func TestKeysThatAreNone(t *testing.T) {
	own := newBuilder(t).key
	with := func(text ...[]byte) []provenance.Key { return []provenance.Key{{ID: "k", PEM: slices.Concat(text...)}} }
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	other, err := x509.MarshalPKIXPublicKey(pub)
	must(t, err)
	block := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}) }

	for name, tt := range map[string]struct {
		keys []provenance.Key
		why  string // "": they work
	}{
		"one":                {with(own.PEM), ""},
		"with space behind":  {with(own.PEM, []byte("\n \n")), ""},
		"unnamed":            {[]provenance.Key{{PEM: own.PEM}}, "has no id"},
		"the same twice":     {[]provenance.Key{own, own}, "duplicate"},
		"two in one":         {with(own.PEM, own.PEM), "not one PEM block"},
		"a letter behind":    {with(own.PEM, []byte("x")), "not one PEM block"},
		"empty":              {with(nil), "not one PEM block"},
		"junk":               {with([]byte("x")), "not one PEM block"},
		"half a key":         {with(own.PEM[:bytes.IndexByte(own.PEM, '\n')+20]), "not one PEM block"},
		"a block of junk":    {with(block([]byte("x"))), "parsing"},
		"a block of nothing": {with(block(nil)), "parsing"},
		"Ed25519":            {with(block(other)), "want ECDSA"},
	} {
		s, err := provenance.New(provenance.Config{Keys: tt.keys})
		if (err == nil) != (tt.why == "") || (s == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %q", name, err, tt.why)
		}
	}
}
