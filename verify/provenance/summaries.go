package provenance

import (
	"context"
	"errors"
	"fmt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// maxSummaries bounds the summaries of one platform. One signer makes them, who has no need of so many.
const maxSummaries = 64

// summaries reads the verification summaries of an earlier stage: all of them, since the newest may be a refusal that
// takes an older pass back.
func (s *Source) summaries(ctx context.Context, images []attestor.Image, rule attestor.SignedBy, c *collection) {
	const msg = "verification summaries attached to the image could not be read"
	if s.c.Attached == nil {
		c.fail(errors.New("not configured"), msg, "this gate is not configured to read them")
		return
	}

	ctx, cancel := s.c.Limit.Start(ctx)
	defer cancel()

	n := 0
	for _, img := range images {
		statements, err := s.c.Attached.EveryAttestation(ctx, img, rule, []string{vsa.PredicateType})
		if err != nil {
			c.fail(err, msg, "try again; if it persists, see the gate's log")
			continue
		}

		for _, st := range statements {
			// By the signer, and not to be understood: it may be a refusal, so that the others do not speak alone.
			parsed, err := vsa.Parse(st.Payload)
			if err == nil && !parsed.About(img.Digest().Hex()) {
				err = errors.New("it is about another digest")
			}
			if err != nil {
				c.fail(err, "a verification summary by the signer is malformed: "+err.Error(),
					"have the earlier stage make it anew")
				continue
			}
			if n++; n > maxSummaries {
				c.fail(errors.New("too many"),
					fmt.Sprintf("more than %d verification summaries are attached", maxSummaries),
					"delete those that are not needed")
				return
			}

			p := parsed.Predicate
			c.add(attestor.Provenance{
				Source: attestor.ProvenanceFromSummary, PredicateType: vsa.PredicateType, KeyID: st.Signer,
				Statement: attestor.DigestOf(st.Payload),
				Summary: &attestor.StageSummary{
					SignedBy: rule.Text(), Verifier: clip(p.Verifier.ID), Policy: clip(p.Policy.URI),
					Resource: clip(p.ResourceURI),
					Result:   p.VerificationResult, Levels: p.VerifiedLevels, Time: p.TimeVerified,
				},
			})
		}
	}
}
