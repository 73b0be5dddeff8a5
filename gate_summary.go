package attestor

import (
	"context"
	"fmt"
)

// summarize publishes the verification summaries of a pass: after record has returned, and before an attestation is
// stored. A summary of a pass that was not attested is true all the same; an attestation without its summary would
// leave an image deployable by an answer that was an error.
func (p *attempt) summarize(ctx context.Context, auth Authorization, record func() error) error {
	s := p.gate.c.Summarizer
	if s == nil {
		return noSummarizer()
	}
	defer p.time("summarize")()

	// On error, too, what stands is named: it is recorded, and revocation finds it.
	done, err := s.Summarize(ctx, auth, record)
	p.published(done)
	if err != nil {
		return err
	}

	// One of each image, or the answer would claim more than consumers find.
	if want := len(auth.Images()); len(done.Standing) != want {
		return fmt.Errorf("publishing summaries: %d stand, %d were to", len(done.Standing), want)
	}
	return nil
}

// published notes in the Decision which summaries stand, and which were not deleted.
func (p *attempt) published(s Summaries) {
	p.dec.Summaries = append(p.dec.Summaries, s.Standing...)
	for _, l := range s.Left {
		p.left = append(p.left, Reason{Code: CodeSummaryNotDeleted, Subject: l.Reference, Message: l.Why, Fix: l.Fix})
	}
}

func noSummarizer() error {
	return &Error{
		Kind: Upstream, Code: CodeSummaryNotStored,
		Msg: "the policy asks for verification summaries, and this gate has no key for them",
		Fix: "set vsa in the gate's configuration, or remove attest.vsa from the policy",
	}
}

// refuse publishes the summary of a denial, where the policy asks for it. The image is denied whether that succeeds or
// not.
func (p *attempt) refuse(ctx context.Context, v Verdict) {
	n := p.policy.Needs().Attest.Summary
	if p.dec.DryRun || v.Outcome() != Deny || n == nil || !n.Refusals || p.ev.Image.IsZero() {
		return
	}
	defer p.time("summarize")()

	// A failure only warns: the denial stands without its summary.
	r, err := AuthorizeRefusal(p.dec.ID, v)
	if err == nil && p.gate.c.Summarizer == nil {
		err = noSummarizer()
	}
	var done Summaries
	if err == nil {
		done, err = p.gate.c.Summarizer.Refuse(ctx, r)
	}
	p.published(done)
	if err != nil {
		reason := reasonOf(err, CodeSummaryNotStored)
		reason.Severity = Warns
		p.left = append(p.left, reason)
	}
}

// recoverSummaries looks whether the summaries stand that a decision was to publish. It reports true where none was.
func (g *Gate) recoverSummaries(ctx context.Context, r Record, judged Policy, images []Image) ([]Summary, bool, error) {
	n := judged.Needs().Attest.Summary
	switch {
	// An override publishes none: there is nothing that could be missing.
	case n == nil || r.Decision.BreakGlass != nil:
		return nil, true, nil
	case g.c.Summarizer == nil || len(images) == 0:
		return nil, false, nil
	}

	found, err := g.c.Summarizer.Stands(ctx, images, judged.Ref(), *n)
	if err != nil {
		return nil, false, err
	}

	// All or none: a pass that promised a summary of each image is not finished with fewer.
	return found, len(found) == len(images), nil
}
