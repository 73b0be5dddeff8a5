package signed

import (
	"context"

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
