package attestor

import (
	"context"
	"fmt"
)

// Recover finishes a record that was begun and never finished, because the
// process was killed between signing and answering. judged is the policy that
// r was judged by. Where every attestation that was to be made exists and
// verifies, the record becomes the pass that it was; otherwise it becomes an
// error that lists those that do exist. Nothing is signed.
func (g *Gate) Recover(ctx context.Context, r Record, judged Policy) (Decision, error) {
	// Only the policy that the image was judged by may say again that it passed.
	if judged.Ref().Digest == "" || r.Decision.Policy == nil || judged.Ref().Digest != r.Decision.Policy.Digest {
		return Decision{}, fmt.Errorf("recovering %s: it was judged by another policy", r.Decision.ID)
	}
	verdict := judged.Judge(r.Evidence)
	attestors := judged.Needs().Attest.For(r.Decision.BreakGlass != nil)
	var images []Image
	for _, d := range verdict.Subjects() {
		images = append(images, r.Evidence.Image.Sibling(d))
	}

	// What exists decides, not what the begun record names: each attestation is verified with the attestor's keys.
	standing, err := g.c.Attester.Standing(ctx, attestors, images)
	if err != nil {
		return Decision{}, fmt.Errorf("recovering %s: %w", r.Decision.ID, err)
	}
	p := &attempt{gate: g, policy: judged, ev: r.Evidence, standing: standing, dec: r.Decision, start: r.Decision.Time}
	p.dec.Attestations = append([]Attestation{}, standing.Valid...) // never null in JSON

	// Three things make it a pass: the right to attest, judged again from the evidence, every attestation, and every
	// summary that the policy asks for. An error of Missing is none of them.
	permitted := verdict.Outcome() == Pass || p.dec.BreakGlass != nil
	missing, err := standing.Missing(attestors, images)
	summaries, published, lookUp := g.recoverSummaries(ctx, r, judged, images)
	if lookUp != nil {
		return Decision{}, fmt.Errorf("recovering %s: %w", r.Decision.ID, lookUp)
	}
	p.dec.Summaries = summaries
	if permitted && published && err == nil && len(missing) == 0 {
		p.dec.IndexAttested = r.Evidence.Index && verdict.CoversIndex()
		p.check(Check{Name: CheckAttest, Status: StatusPass, Reasons: p.foreign()})
		return p.finish(ctx)
	}

	if len(standing.Valid) == 0 {
		p.dec.BreakGlass = nil // nothing was overridden; an attestation that exists must expire
	}
	p.check(Check{Name: CheckAttest, Status: StatusError, Reasons: append([]Reason{{
		Code: CodeInterrupted, Message: "the gate stopped before every attestation was stored; no caller was told " +
			"that this image passed",
		Fix: "repeat the request",
	}}, p.foreign()...)})
	return p.finish(ctx)
}
