package signed

import (
	"context"
	"errors"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
)

// VerifyBundle verifies bytes as a bundle about img, without a registry.
func VerifyBundle(ctx context.Context, c *Checker, img attestor.Image, b []byte, rule attestor.SignedBy) (Statement, error) {
	m, err := c.material(ctx, rule)
	if err != nil {
		return Statement{}, err
	}
	return c.verifyBundle(ctx, img, b, m)
}

// VerifyClassic verifies one entry of a .sig or .att tag, without a registry.
func VerifyClassic(ctx context.Context, c *Checker, img attestor.Image, payload []byte, annotations map[string]string,
	rule attestor.SignedBy, attestation bool) error {
	m, err := c.material(ctx, rule)
	if err != nil {
		return err
	}

	_, err = c.verifyClassic(ctx, img, payload, annotations, m, attestation)
	return err
}

// NewWithin is New with another time for a look-up.
func NewWithin(c Config, timeout time.Duration) (*Checker, error) { return newChecker(c, timeout) }

// NewStatement parses the signed bytes of an in-toto statement about img.
func NewStatement(payload []byte, img attestor.Image) (Statement, error) {
	return newStatement(payload, img)
}

// RekorBundle decodes the log entry of a classic signature.
func RekorBundle(text string) error {
	b, err := rekorBundle(text)
	if err == nil && b == nil {
		return errors.New("neither an entry nor an error")
	}
	return err
}

// OneCertificate decodes the certificate of a classic signature.
func OneCertificate(text string) error {
	_, _, err := oneCertificate(text)
	return err
}

// Timestamp decodes and verifies a timestamp about bytes, and returns its time.
func Timestamp(text string, about []byte, trusted root.TrustedMaterial) (time.Time, error) {
	c := &candidate{}
	err := c.timestamp(text, about, trusted)
	return c.stamped, err
}

// Referrer fetches the bundle that an entry of a list of referrers describes.
func Referrer(ctx context.Context, c *Checker, img attestor.Image, desc v1.Descriptor) (b []byte, flaw string, err error) {
	layers, err := c.holding(ctx, desc, img, simpleSigningMediaType)
	if err == nil && len(layers) > 0 {
		b, err = c.registry.Blob(ctx, img, layers[0].Descriptor, maxSignature)
	}
	if f, ok := errors.AsType[referrers.Flaw](err); ok {
		return b, string(f), nil
	}
	return b, "", err
}

// WhilePanicking has both verifications run into a bug, and returns what they
// make of it.
func WhilePanicking(ctx context.Context, c *Checker, img attestor.Image, bundle []byte, classic []byte,
	annotations map[string]string) (st Statement, ofBundle, ofClassic error) {
	st, ofBundle = c.verifyBundle(ctx, img, bundle, nil)
	_, ofClassic = c.verifyClassic(ctx, img, classic, annotations, nil, false)
	return st, ofBundle, ofClassic
}

// RootsKept parses trusted roots and returns how many are kept.
func RootsKept(_ context.Context, c *Checker, roots ...[]byte) int {
	for _, b := range roots {
		if _, err := c.roots.parse(b); err != nil {
			return -1
		}
	}
	return c.roots.roots.Len()
}

// OpenEnvelope decodes an envelope, by itself or in a bundle, and says what a signature of it is made over.
func OpenEnvelope(raw []byte, bundled bool) (kind string, payload []byte, signatures [][]byte, over string, err error) {
	o, err := open(raw, bundled)
	if err != nil {
		return "", nil, nil, "", err
	}
	b, err := io.ReadAll(o.message())
	return o.payloadType, o.payload, o.signatures, string(b), err
}
