// Package provenance finds verified statements of how an image was built: by
// Cloud Build, in Container Analysis, under keys of Google's that are pinned
// here, and by whoever a policy names, attached with cosign. It parses signed
// bytes only: the structured copies beside them prove nothing. Which builder,
// source or level is good enough it leaves to the policy.
package provenance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// Attached finds in-toto statements that are attached to an image in its
// registry and whose signer satisfies rule. [signed.Checker] is one.
type Attached interface {
	Attestations(ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string) ([]signed.Statement, error)
}

// Config is what a Source needs.
type Config struct {
	Grafeas      *grafeas.Client   // nil: Cloud Build's provenance cannot be read, which is an error where it is asked for
	ScanProjects map[string]string // registry host to Google project, where the name does not say
	Keys         []Key             // of the builder; nil: [GoogleKeys]
	Attached     Attached          // nil: statements attached with cosign cannot be read, likewise
	CallTimeout  time.Duration     // for each of the two look-ups; 0: 20 s
	Now          func() time.Time  // nil: time.Now
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
	if c.CallTimeout <= 0 {
		c.CallTimeout = 20 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	keys, err := pin(c.Keys)
	if err != nil {
		return nil, err
	}
	return &Source{c: c, keys: keys}, nil
}

// Provenance returns every verified statement about any of images: one child,
// and the index that it was reached through. A problem is an error where
// something could not be asked, and a denial where there are statements and
// none verifies.
func (s *Source) Provenance(ctx context.Context, images []attestor.Image, needs attestor.ProvenanceNeeds) ([]attestor.Provenance, []attestor.Problem) {
	c := &collection{}
	if len(images) == 0 || slices.ContainsFunc(images, attestor.Image.IsZero) {
		c.fail(errors.New("no image"), "no image to find the provenance of", "")
		return nil, c.problems
	}
	s.cloudBuild(ctx, images, needs, c)
	if needs.SignedBy != nil {
		s.attached(ctx, images, *needs.SignedBy, c)
	}
	if len(c.verified) == 0 && len(c.rejected) > 0 {
		c.problems = append(c.problems, attestor.Problem{Check: attestor.CheckProvenance, Status: attestor.StatusDeny, Reason: attestor.Reason{
			Code:    attestor.CodeProvenanceMissing,
			Message: fmt.Sprintf("%d provenance statements were found and none verifies: %s", c.count, strings.Join(c.rejected, "; ")),
			Fix:     "build the image again with Cloud Build, or correct the builder's keys in the configuration",
		}})
	}
	return c.verified, c.problems
}

// collection is what one look-up gathers.
type collection struct {
	verified []attestor.Provenance
	problems []attestor.Problem
	count    int      // statements that were refused
	rejected []string // why, bounded
}

func (c *collection) add(p attestor.Provenance) {
	// Both an index and its child may carry the same statement.
	if !slices.ContainsFunc(c.verified, func(q attestor.Provenance) bool { return same(p, q) }) {
		c.verified = append(c.verified, p)
	}
}

func same(p, q attestor.Provenance) bool {
	return p.Source == q.Source && p.Builder == q.Builder && p.PredicateType == q.PredicateType && p.KeyID == q.KeyID &&
		p.SourceURI == q.SourceURI && p.Ref == q.Ref && p.Commit == q.Commit && p.SLSALevel == q.SLSALevel &&
		fmt.Sprint(p.Materials) == fmt.Sprint(q.Materials)
}

func (c *collection) reject(why string) {
	c.count++
	if len(c.rejected) < 4 && !slices.Contains(c.rejected, why) {
		c.rejected = append(c.rejected, why)
	}
}

// fail records that something could not be found out.
func (c *collection) fail(err error, msg, fix string) {
	r := attestor.Reason{Code: attestor.CodeProvenanceUnavailable, Message: msg, Fix: fix}
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		r.Message, r.Fix = msg+": "+e.Msg, e.Fix
	}
	c.problems = append(c.problems, attestor.Problem{Check: attestor.CheckProvenance, Status: attestor.StatusError, Reason: r})
}

// attached reads what was attached with cosign.
func (s *Source) attached(ctx context.Context, images []attestor.Image, rule attestor.SignedBy, c *collection) {
	const msg = "provenance attached to the image could not be read"
	if s.c.Attached == nil {
		c.fail(errors.New("not configured"), msg, "this gate is not configured to read it")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.c.CallTimeout)
	defer cancel()
	for _, img := range images {
		statements, err := s.c.Attached.Attestations(ctx, img, rule, []string{slsaV02, slsaV1})
		if err != nil {
			c.fail(err, msg, "try again; if it persists, see the gate's log")
			continue
		}
		for _, st := range statements {
			p, err := parse(st.Payload, img.Digest())
			if err != nil {
				c.reject("attached: " + err.Error())
				continue
			}
			p.Source, p.KeyID, p.SLSALevel = "cosign", st.Signer, attachedLevel(p, st)
			c.add(p)
		}
	}
}
