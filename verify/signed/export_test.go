package signed

import (
	"context"
	"time"

	"github.com/attestor-gate/attestor"
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
func VerifyClassic(ctx context.Context, c *Checker, img attestor.Image, payload []byte, annotations map[string]string, rule attestor.SignedBy, attestation bool) error {
	m, err := c.material(ctx, rule)
	if err != nil {
		return err
	}
	_, err = c.verifyClassic(ctx, img, payload, annotations, m, attestation)
	return err
}

// NewWithin is New with another time for a look-up.
func NewWithin(c Config, timeout time.Duration) (*Checker, error) { return newChecker(c, timeout) }
