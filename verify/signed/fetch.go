package signed

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
)

// attached lists what cosign keeps under a tag made of the digest: suffix is "sig" or
// "att".
func (c *Checker) attached(
	ctx context.Context, img attestor.Image, suffix string, found *findings,
) (layers []v1.Descriptor) {
	m, err := c.registry.Tagged(ctx, img, suffix)

	// The registry said that there is no such tag. Every other failure leaves open what is there.
	if errors.Is(err, referrers.ErrNone) {
		return nil
	}
	if err != nil {
		found.unusable(err)
		return nil
	}

	if len(m.Layers) > maxCandidates {
		found.fail(tooMany(len(m.Layers)))
	}
	return m.Layers[:min(len(m.Layers), maxCandidates)]
}

// referrers lists the referrers of img, most likely bundles first. All of them are
// fetched.
func (c *Checker) referrers(ctx context.Context, img attestor.Image, found *findings) []v1.Descriptor {
	list, err := c.registry.List(ctx, img, bundleMediaType)
	if err != nil {
		found.unusable(err)
		return nil
	}

	if !list.Whole() {
		found.fail(tooMany(list.Listed))
	}
	return list.Referrers
}

// tooMany is the error for a list of which a part is not checked. One of the rest may
// satisfy the rule, so that the answer is unknown unless one of the first does.
func tooMany(listed int) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown,
		Msg: fmt.Sprintf(
			"%d signatures or referrers are attached, of which %d were checked, and none satisfies the rule",
			listed, maxCandidates,
		),
		Fix: "delete the signatures and referrers that are not needed",
	}
}
