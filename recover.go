package attestor

import (
	"context"
	"fmt"
	"slices"
)

// Recover completes a record that was begun and never finished, because the
// process was killed between signing and answering. judged is the policy that
// r was judged by. What was to be attested and stands, by signatures that
// verify, is recorded as the pass that it was; anything else as an error, with
// whatever does stand. Nothing is signed.
func (g *Gate) Recover(ctx context.Context, r Record, judged Policy) (Decision, error) {
	if judged.Ref().Digest == "" || r.Decision.Policy == nil || judged.Ref().Digest != r.Decision.Policy.Digest {
		return Decision{}, fmt.Errorf("recovering %s: it was judged by another policy", r.Decision.ID)
	}
	verdict := judged.Judge(r.Evidence)
	needs := judged.Needs().Attest
	attestors := needs.Attestors
	if r.Decision.BreakGlass != nil && len(needs.BreakGlass) > 0 {
		attestors = needs.BreakGlass
	}
	var images []Image
	for _, d := range verdict.Subjects() {
		images = append(images, r.Evidence.Image.Sibling(d))
	}
	standing, err := g.c.Attester.Standing(ctx, attestors, images)
	if err != nil {
		return Decision{}, fmt.Errorf("recovering %s: %w", r.Decision.ID, err)
	}
	p := &pass{gate: g, policy: judged, ev: r.Evidence, standing: standing, dec: r.Decision, start: r.Decision.Time}
	p.dec.Attestations = append([]Attestation{}, standing.Valid...) // never null in JSON
	permitted := verdict.Outcome() == Pass || p.dec.BreakGlass != nil
	if permitted && standsFor(standing, attestors, images) {
		p.dec.IndexAttested = r.Evidence.Index && verdict.CoversIndex()
		p.check(Check{Name: CheckAttest, Status: StatusPass, Reasons: p.foreign()})
	} else {
		if len(standing.Valid) == 0 {
			p.dec.BreakGlass = nil // nothing was overridden; else what stands must expire
		}
		p.check(Check{Name: CheckAttest, Status: StatusError, Reasons: append([]Reason{{
			Code: CodeInterrupted, Message: "the gate stopped before every attestation was stored; nobody was told that this image passed",
			Fix: "ask again",
		}}, p.foreign()...)})
	}
	return p.finish(ctx)
}

// standsFor reports whether every attestor has a valid attestation of every
// image.
func standsFor(s Standing, attestors []string, images []Image) bool {
	if len(attestors) == 0 || len(images) == 0 {
		return false
	}
	for _, a := range attestors {
		for _, img := range images {
			if !slices.ContainsFunc(s.Valid, func(v Attestation) bool { return v.Attestor == a && v.Digest == img.Digest() }) {
				return false
			}
		}
	}
	return true
}
