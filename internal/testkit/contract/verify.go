package contract

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor"
)

// SignatureChecker is the suite of verify.SignatureChecker. rule is satisfied by
// a signature of signed, and by none of unsigned.
func SignatureChecker(t *testing.T, c interface {
	Check(ctx context.Context, img attestor.Image, rule attestor.SignedBy) (string, error)
}, signed, unsigned attestor.Image, rule attestor.SignedBy) {
	signer, err := c.Check(t.Context(), signed, rule)
	if err != nil || signer == "" {
		t.Errorf("of the signed image: %q, %v", signer, err)
	}

	// Looked, and found none: the one error that may deny.
	signer, err = c.Check(t.Context(), unsigned, rule)
	if codeOf(err) != attestor.CodeBaseUnsigned || signer != "" {
		t.Errorf("of the unsigned image: %q, %v; want an error with code %s", signer, err, attestor.CodeBaseUnsigned)
	}

	// Could not look: never taken for "none".
	signer, err = c.Check(gone(t), unsigned, rule)
	if err == nil || signer != "" || codeOf(err) == attestor.CodeBaseUnsigned {
		t.Errorf("asked with an ended context: %q, %v", signer, err)
	}
}

// ProvenanceSource is the suite of verify.ProvenanceSource. known has a verified
// statement, and unknown has none.
func ProvenanceSource(t *testing.T, s interface {
	Provenance(ctx context.Context, images []attestor.Image, needs attestor.ProvenanceNeeds) ([]attestor.Provenance,
		[]attestor.Problem)
}, known, unknown attestor.Image) {
	got, problems := s.Provenance(t.Context(), []attestor.Image{known}, attestor.ProvenanceNeeds{})
	if len(got) == 0 || len(problems) != 0 {
		t.Errorf("of the image with provenance: %d statements, problems %+v", len(got), problems)
	}
	for _, p := range got {
		if p.Builder == "" {
			t.Errorf("a statement names no builder: %+v", p)
		}
	}

	got, problems = s.Provenance(t.Context(), []attestor.Image{unknown}, attestor.ProvenanceNeeds{})
	if len(got) != 0 {
		t.Errorf("of the image without provenance: %+v", got)
	}
	for _, p := range problems {
		if p.Status == attestor.StatusError {
			t.Errorf("no statement at all is a fact, not an outage: %+v", p)
		}
	}

	// What could not be asked is a problem: an empty list alone would deny.
	got, problems = s.Provenance(gone(t), []attestor.Image{known}, attestor.ProvenanceNeeds{})
	if len(got) != 0 || len(problems) == 0 || problems[0].Status != attestor.StatusError {
		t.Errorf("asked with an ended context: %d statements, problems %+v", len(got), problems)
	}
}

// Attachments is the suite of provenance.Attached, for any type of statement.
func Attachments[S any](t *testing.T, a interface {
	Attestations(ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string) ([]S, []string,
		error)
	EveryAttestation(ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string) ([]S,
		error)
}, with, without attestor.Image, rule attestor.SignedBy, predicateType string) {
	got, rejected, err := a.Attestations(t.Context(), with, rule, []string{predicateType})
	if err != nil || len(got) == 0 || len(rejected) != 0 {
		t.Errorf("of the image with a statement: %d, rejected %q, %v", len(got), rejected, err)
	}
	got, err = a.EveryAttestation(t.Context(), with, rule, []string{predicateType})
	if err != nil || len(got) == 0 {
		t.Errorf("every one of the image with a statement: %d, %v", len(got), err)
	}
	got, err = a.EveryAttestation(gone(t), without, rule, []string{predicateType})
	if err == nil || len(got) != 0 {
		t.Errorf("every one, asked with an ended context: %d, %v", len(got), err)
	}
	got, rejected, err = a.Attestations(t.Context(), with, rule, []string{"https://example.com/another/type"})
	if err != nil || len(got)+len(rejected) != 0 {
		t.Errorf("of another type: %d, rejected %q, %v", len(got), rejected, err)
	}

	got, rejected, err = a.Attestations(t.Context(), without, rule, []string{predicateType})
	if err != nil || len(got)+len(rejected) != 0 {
		t.Errorf("of the image without a statement: %d, rejected %q, %v", len(got), rejected, err)
	}
	got, rejected, err = a.Attestations(gone(t), without, rule, []string{predicateType})
	if err == nil || len(got)+len(rejected) != 0 {
		t.Errorf("asked with an ended context: %d, rejected %q, %v", len(got), rejected, err)
	}
}

// PublicKeys is the suite of signed.PublicKeys.
func PublicKeys(t *testing.T, k interface {
	PublicKey(ctx context.Context, uri string) ([]byte, error)
}, known, unknown string) {
	text, err := k.PublicKey(t.Context(), known)
	if err != nil {
		t.Fatalf("PublicKey(%q): %v", known, err)
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) != 0 {
		t.Fatalf("PublicKey(%q) is not one PEM block: %q", known, text)
	}

	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		t.Errorf("PublicKey(%q): %v", known, err)
	}

	for _, uri := range []string{unknown, "", "file:///etc/passwd"} {
		if text, err := k.PublicKey(t.Context(), uri); err == nil || len(text) != 0 {
			t.Errorf("PublicKey(%q) is %q, %v", uri, text, err)
		}
	}

	if text, err := k.PublicKey(gone(t), known); err == nil || len(text) != 0 {
		t.Errorf("PublicKey with an ended context is %q, %v", text, err)
	}
}

// Resolver is the suite of verify.Resolver. unknown is a name without address;
// "" where the implementation knows every name.
func Resolver(t *testing.T, r interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}, unknown string) {
	// An address is its own, and is never asked of anybody.
	for _, literal := range []string{"127.0.0.1", "169.254.169.254", "::1", "2001:db8::1"} {
		got, err := r.LookupNetIP(t.Context(), "ip", literal)
		if err != nil || len(got) != 1 || got[0].Unmap() != netip.MustParseAddr(literal) {
			t.Errorf("LookupNetIP(%q) = %v, %v", literal, got, err)
		}
	}

	if unknown == "" {
		return
	}

	got, err := r.LookupNetIP(t.Context(), "ip", unknown)
	dns, ok := errors.AsType[*net.DNSError](err)
	if len(got) != 0 || !ok || dns.Name == "" {
		t.Errorf("LookupNetIP(%q) = %v, %v; want a *net.DNSError that names it", unknown, got, err)
	}
}

// Referrers is the suite of readers of what is attached to an image, for any type of
// list. with has one referrer, whose only layer is blob, and nothing under a tag;
// without has neither. none is the error for a manifest that is not there.
func Referrers[L any](t *testing.T, c interface {
	List(ctx context.Context, img attestor.Image, prefixes ...string) (L, error)
	Manifest(ctx context.Context, img attestor.Image, desc v1.Descriptor) (*v1.Manifest, error)
	Tagged(ctx context.Context, img attestor.Image, suffix string) (*v1.Manifest, error)
	Blob(ctx context.Context, img attestor.Image, desc v1.Descriptor, limit int64) ([]byte, error)
}, entries func(L) []v1.Descriptor, with, without attestor.Image, blob []byte, none error) {
	list, err := c.List(t.Context(), with)
	if err != nil || len(entries(list)) != 1 {
		t.Fatalf("of the image with a referrer: %+v, %v", list, err)
	}
	one := entries(list)[0]
	m, err := c.Manifest(t.Context(), with, one)
	if err != nil || len(m.Layers) != 1 {
		t.Fatalf("its manifest: %+v, %v", m, err)
	}
	got, err := c.Blob(t.Context(), with, m.Layers[0], int64(len(blob)))
	if err != nil || string(got) != string(blob) {
		t.Errorf("its blob: %q, %v", got, err)
	}

	// Bounded to the byte, and never cut: a part would be taken for the whole.
	if got, err := c.Blob(t.Context(), with, m.Layers[0], int64(len(blob))-1); err == nil || len(got) != 0 {
		t.Errorf("its blob, of which one byte too few is allowed: %q, %v", got, err)
	}
	lying := m.Layers[0]
	lying.Size = 1
	if got, err := c.Blob(t.Context(), with, lying, int64(len(blob))-1); err == nil || len(got) != 0 {
		t.Errorf("its blob, said to be smaller: %q, %v", got, err)
	}

	// A referrer of one image is not one of another.
	if _, err := c.Manifest(t.Context(), without, one); err == nil || errors.Is(err, none) {
		t.Errorf("asked about another image: %v", err)
	}

	// Nothing there is a fact, and no error; what could not be asked is an error.
	list, err = c.List(t.Context(), without)
	if err != nil || len(entries(list)) != 0 {
		t.Errorf("of the image without referrers: %+v, %v", list, err)
	}
	for _, img := range []attestor.Image{with, without} {
		if m, err := c.Tagged(t.Context(), img, "att"); !errors.Is(err, none) {
			t.Errorf("a tag that is not there: %+v, %v", m, err)
		}
		if list, err := c.List(gone(t), img); err == nil {
			t.Errorf("asked with an ended context: %+v", list)
		}
		if _, err := c.Tagged(gone(t), img, "att"); err == nil || errors.Is(err, none) {
			t.Errorf("a tag, asked with an ended context: %v", err)
		}
	}
	if got, err := c.Blob(gone(t), with, m.Layers[0], 1<<20); err == nil || len(got) != 0 {
		t.Errorf("a blob, asked with an ended context: %q", got)
	}
}
