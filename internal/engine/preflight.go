package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	binaryauthorization "cloud.google.com/go/binaryauthorization/apiv1"
	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/google"
)

// policyFor bounds the reading of one Binary Authorization policy.
const policyFor = 30 * time.Second

// BinauthzPolicy reads a project's Binary Authorization policy.
func BinauthzPolicy(ctx context.Context, g *google.Clients, project string) (*binaryauthorizationpb.Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, policyFor)
	defer cancel()

	name := "projects/" + project + "/policy"
	p, err := g.Binauthz.GetPolicy(ctx, &binaryauthorizationpb.GetPolicyRequest{Name: name})

	// The policy of another project would answer for the wrong project.
	if err == nil && p.GetName() != name {
		return nil, &attestor.Error{
			Kind: attestor.Upstream,
			Msg:  fmt.Sprintf("Binary Authorization answered with another policy than %s", name),
		}
	}
	return p, policyError(name, err)
}

// SystemPolicy reads the policy that exempts Google's own images.
func SystemPolicy(ctx context.Context, e google.Emulators) (_ *binaryauthorizationpb.Policy, err error) {
	ctx, cancel := context.WithTimeout(ctx, policyFor)
	defer cancel()

	options := google.Guard(nil).Options(google.ServiceBinauthz, e.Binauthz)
	c, err := binaryauthorization.NewSystemPolicyClient(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Binary Authorization: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	const name = "locations/global/policy"
	p, err := c.GetSystemPolicy(ctx, &binaryauthorizationpb.GetSystemPolicyRequest{Name: name})
	return p, policyError(name, err)
}

func policyError(name string, err error) error {
	if err == nil {
		return nil
	}

	e := &attestor.Error{
		Kind: attestor.Upstream, Msg: "the Binary Authorization policy " + name + " could not be read",
		Fix: "try again", Err: err,
	}

	// Without credentials, or with a service that is switched off, no role helps.
	if because := cause.Of(err); because.Fix != "" {
		e.Msg, e.Fix = e.Msg+": "+because.Why, because.Fix
		return e
	}
	switch status.Code(err) {
	case codes.PermissionDenied:
		e.Msg, e.Fix = "this identity may not read the Binary Authorization policy "+name,
			"grant it roles/binaryauthorization.policyViewer"
	case codes.NotFound:
		e.Kind, e.Msg, e.Fix = attestor.NotFound, "there is no Binary Authorization policy "+name,
			"check the project's name"
	}

	return e
}
