// Package provenance finds verified statements of how an image was built: those
// of Cloud Build in Container Analysis, signed with Google keys that are pinned
// here, and those attached with cosign by the identity or key that a policy
// names. It parses signed bytes only: the structured copies beside them prove
// nothing. Which builder, source or level is good enough it leaves to the policy.
package provenance

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/verify/signed"
)

// Attached finds in-toto statements that are attached to an image in its
// registry and whose signer satisfies rule. [signed.Checker] is one.
type Attached interface {
	// Attestations also says why others, which claim to be of these types, do not count.
	Attestations(
		ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
	) (list []signed.Statement, rejected []string, err error)
	// EveryAttestation is an error unless every statement was read: for those that can speak against an image.
	EveryAttestation(
		ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
	) ([]signed.Statement, error)
}

// Registry reads what refers to an image in its registry. [referrers.Client] is one.
type Registry interface {
	List(ctx context.Context, img attestor.Image, prefixes ...string) (referrers.List, error)
	Manifest(ctx context.Context, img attestor.Image, desc v1.Descriptor) (*v1.Manifest, error)
	Blob(ctx context.Context, img attestor.Image, desc v1.Descriptor, limit int64) ([]byte, error)
}

// Config is what a Source needs. A source of statements that is nil makes it an
// error, not a silence, where a policy asks for its statements.
type Config struct {
	Grafeas      *grafeas.Client   // reads Cloud Build's provenance
	ScanProjects map[string]string // registry host to Google project, for registries whose names do not contain it
	Keys         []Key             // of the builder; nil: [GoogleKeys]
	Registry     Registry          // reads Cloud Build's provenance among the referrers; nil: Container Analysis alone
	Attached     Attached          // reads statements attached with cosign
	Limit        limit.Call        // of each of the look-ups; 0: [limit.Default]
}

// Source finds provenance. It is safe for concurrent use.
type Source struct {
	c    Config
	keys map[string]pinned
}

// New checks the keys.
func New(c Config) (*Source, error) {
	if c.Keys == nil {
		c.Keys = GoogleKeys()
	}

	keys, err := pin(c.Keys)
	if err != nil {
		return nil, err
	}
	return &Source{c: c, keys: keys}, nil
}

// Provenance returns every verified statement about any of images: one child,
// and the index that it was reached through. A problem is an error where a
// source could not be read, and a denial where statements exist and none of
// them verifies.
func (s *Source) Provenance(
	ctx context.Context, images []attestor.Image, needs attestor.ProvenanceNeeds,
) ([]attestor.Provenance, []attestor.Problem) {
	c := &collection{}
	if len(images) == 0 || slices.ContainsFunc(images, attestor.Image.IsZero) {
		c.fail(errors.New("no image"), "no image to find the provenance of", "")
		return nil, c.problems
	}

	// Cloud Build's statements and those attached by others are read whatever the other
	// source has: the policy may accept a statement of either.
	s.cloudBuild(ctx, images, needs, c)
	if s.wantsReferred(images, needs, c) {
		s.referred(ctx, images, c)
	}
	if needs.SignedBy != nil {
		s.attached(ctx, images, *needs.SignedBy, c)
	}
	if needs.Summary != nil {
		s.summaries(ctx, images, *needs.Summary, c)
	}

	// One verified statement suffices here. Those that were refused beside it
	// cannot void it: anyone who may attach statements could then block an image. Nor
	// is it denied for them where others could not be read.
	if len(c.verified) == 0 && c.refused > 0 && len(c.problems) == 0 {
		c.deny()
	}
	return c.verified, c.problems
}

// collection is the result of one look-up.
type collection struct {
	verified []attestor.Provenance
	problems []attestor.Problem
	refused  int      // statements
	attached int      // of these, attached for a signer whom the policy names
	causes   []string // of the refusals; distinct, maxCauses at most
}

// maxCauses keeps the message readable whatever was attached to the image.
const maxCauses = 4

// deny reports that no statement verifies.
func (c *collection) deny() {
	found, fix := fmt.Sprintf("%d provenance statements were found and none verifies", c.refused),
		"build the image again with Cloud Build, or correct the builder's keys in the configuration"
	if c.refused == 1 {
		found = "a provenance statement was found and does not verify"
	}
	if c.attached > 0 {
		fix = "have the statement signed by the signer in spec.provenance.signedBy, or correct that signer"
	}

	c.problems = append(c.problems, attestor.Problem{
		Check: attestor.CheckProvenance, Status: attestor.StatusDeny,
		Reason: attestor.Reason{
			Code: attestor.CodeProvenanceMissing, Message: found + ": " + strings.Join(c.causes, "; "), Fix: fix,
		},
	})
}

func (c *collection) add(p attestor.Provenance) {
	// Both an index and its child may carry the same statement.
	if !slices.ContainsFunc(c.verified, func(q attestor.Provenance) bool { return same(p, q) }) {
		c.verified = append(c.verified, p)
	}
}

// same reports whether two statements say the same: all of it, since a statement that is left out cannot speak against
// an image. The bytes that were signed may differ, as in the time of a build that was repeated.
func same(p, q attestor.Provenance) bool {
	p.Statement = q.Statement
	return reflect.DeepEqual(p, q)
}

// reject counts a statement that was read and does not verify.
func (c *collection) reject(cause string) {
	c.refused++
	if len(c.causes) < maxCauses && !slices.Contains(c.causes, cause) {
		c.causes = append(c.causes, cause)
	}
}

// fail reports that a source could not be read. That is an error and never a
// denial: the statement that would satisfy the policy may be there.
func (c *collection) fail(err error, msg, fix string) {
	r := attestor.Reason{Code: attestor.CodeProvenanceUnavailable, Message: msg, Fix: fix}

	// A cause with a message for people says more than we can add.
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		r.Message, r.Fix = msg+": "+e.Msg, e.Fix
	}
	c.problems = append(c.problems, attestor.Problem{
		Check: attestor.CheckProvenance, Status: attestor.StatusError, Reason: r,
	})
}

// attached reads statements that were attached with cosign.
func (s *Source) attached(ctx context.Context, images []attestor.Image, rule attestor.SignedBy, c *collection) {
	const msg = "provenance attached to the image could not be read"
	if s.c.Attached == nil {
		c.fail(errors.New("not configured"), msg, "this gate is not configured to read it")
		return
	}

	ctx, cancel := s.c.Limit.Start(ctx)
	defer cancel()

	for _, img := range images {
		// The checker returns statements whose signature satisfies the rule, and no others.
		statements, rejected, err := s.c.Attached.Attestations(ctx, img, rule, []string{slsaV02, slsaV1})
		if err != nil {
			c.fail(err, msg, "try again; if it persists, see the gate's log")
			continue
		}

		for _, st := range statements {
			p, err := fromSigner(st, img.Digest())
			if err != nil {
				rejected = append(rejected, err.Error())
				continue
			}
			c.add(p)
		}
		for _, why := range rejected {
			c.attached++
			c.reject("attached: " + why)
		}
	}
}
