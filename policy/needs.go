package policy

import (
	"slices"

	"github.com/attestor-gate/attestor"
)

// needs compiles what must be found out. The document is valid.
func (s *Spec) needs(table []check) attestor.Needs {
	n := attestor.Needs{
		Platforms: s.Platforms,
		Attest: attestor.AttestNeeds{
			Attestors: s.Attestors, Children: *s.Attest.Children, DSSE: s.Attest.DSSE, DSSENote: s.Attest.DSSENote,
		},
	}

	if v := s.Attest.VSA; v != nil {
		n.Attest.Summary = &attestor.SummaryNeeds{Repository: v.Repository, Refusals: v.Publish == PublishRefused}
	}

	if b := s.BreakGlass; b != nil && b.Allowed {
		n.Attest.BreakGlass = b.Attestors
	}

	for _, c := range table {
		if c.needs != nil {
			c.needs(s, &n)
		}
	}
	return n
}

// stagesNeed is what must be found out for the policy in full and for each stage before it, which may ask for less
// proof or for other proof.
func (p *Policy) stagesNeed() attestor.Needs {
	n := p.stages[len(p.stages)-1].needs(p.checks)
	for _, stage := range p.stages[:len(p.stages)-1] {
		before := stage.needs(p.checks)
		n.ResolveNames = n.ResolveNames || before.ResolveNames
		n.UploadTime = n.UploadTime || before.UploadTime
		n.Scan.Required = n.Scan.Required || before.Scan.Required
		switch {
		// The check may be required today and not later: its bases are looked up until then.
		case before.BaseRequired && !n.BaseRequired:
			n.BaseRequired, n.BaseEvidence, n.Bases = true, before.BaseEvidence, before.Bases
		case before.BaseRequired && n.BaseEvidence.Satisfies(before.BaseEvidence):
			n.BaseEvidence = before.BaseEvidence // the weaker: whatever satisfies either is looked for
		}
	}
	return n
}

// missing says of each check that evidence gathered for earlier needs cannot answer for next, why.
func missing(table []check, earlier, next attestor.Needs) map[string]string {
	out := map[string]string{}
	for _, c := range table {
		if c.lacks == nil {
			continue
		}
		if why := c.lacks(earlier, next); why != "" {
			out[c.name] = why
		}
	}
	return out
}

// covers reports whether all contains every element of some.
func covers[T comparable](all, some []T) bool {
	return !slices.ContainsFunc(some, func(s T) bool { return !slices.Contains(all, s) })
}
