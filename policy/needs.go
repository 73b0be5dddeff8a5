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
		n.ResolveMembers = n.ResolveMembers || before.ResolveMembers
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

// A lack is what evidence that was gathered for another policy does not answer of one check. What such evidence holds
// against an image is never believed.
type lack struct {
	why string // "": nothing is lacking

	// certain says that what was not looked up could only have spoken for the image: an image that has nothing against it
	// passes by what is known. Unless a check says so, what was not looked up may speak against the image.
	certain bool
}

// leavesOpen reports whether evidence with the lack leaves open how a check answers that found this.
func (l lack) leavesOpen(found []finding) bool {
	return l.why != "" && (!l.certain || slices.ContainsFunc(found, func(f finding) bool { return !f.note }))
}

// lacking is what evidence that was gathered for another policy does not answer. The zero value lacks nothing.
type lacking struct {
	checks map[string]lack   // by check
	rules  map[string]string // by what a rule reads: why that was not gathered alike
}

// lacksFor says what evidence that was gathered for earlier needs does not answer for p.
func (p *Policy) lacksFor(earlier attestor.Needs) lacking {
	out := lacking{checks: map[string]lack{}, rules: ruleLacks(earlier, p.needs)}
	for _, c := range p.checks {
		if c.lacks == nil {
			continue
		}
		if l := c.lacks(p, earlier, p.needs); l.why != "" {
			out.checks[c.name] = l
		}
	}
	return out
}

// ruleLacks says of each variable of rules why the evidence does not hold what it would for next. An expression may ask
// for more or for less of it, so that it is answered only by evidence that was gathered alike.
func ruleLacks(earlier, next attestor.Needs) map[string]string {
	out := map[string]string{}
	add := func(differs bool, variable, why string) {
		if differs {
			out[variable] = why
		}
	}
	e, n := earlier.Provenance, next.Provenance
	add(earlier.UploadTime != next.UploadTime, "subject.uploaded", noUploadTime)
	add(earlier.ResolveNames != next.ResolveNames, "user", noNames)
	add(!basesLookedUp(earlier, next) || !basesLookedUp(next, earlier), "base", otherBases)
	add(scannersLack(earlier.Scan, next.Scan).why != "", "scan", otherScanners)
	add((e == nil) != (n == nil) || e != nil && e.SignedBy.Text() != n.SignedBy.Text(), "provenance", otherProvenance)
	add((earlier.SBOM == nil) != (next.SBOM == nil) ||
		next.SBOM != nil && earlier.SBOM.SignedBy.Text() != next.SBOM.SignedBy.Text(), "sbom", otherSBOMs)
	return out
}

// scannersLack says whether other scanners or projects were asked for what is in the image: for findings, secrets and
// packages.
func scannersLack(e, n attestor.ScanNeeds) lack {
	switch {
	case covers(e.Trusted, n.Trusted) && covers(n.Trusted, e.Trusted) && covers(e.Projects, n.Projects) &&
		covers(n.Projects, e.Projects):
		return lack{}

	// Of a scanner that no longer counts, the check of the scan says so. What the others found was asked for.
	case covers(e.Trusted, n.Trusted) && covers(e.Projects, n.Projects) && covers(n.Projects, e.Projects):
		return lack{why: otherScanners, certain: true}
	}

	// More scanners and projects may find more; of fewer projects nobody knows in which the scan was.
	return lack{why: otherScanners}
}

// Why evidence cannot answer.
const (
	noUploadTime    = "the upload time was not asked for"
	noNames         = "user names were not looked up"
	noMembers       = "further groups of users by number were not looked up"
	otherBases      = "the approved bases, or the proof asked for, are not those that were looked up"
	otherScanners   = "other scanners or projects were asked"
	otherProvenance = "provenance was not verified by these rules"
	otherSBOMs      = "SBOMs were not read by these rules"
)

// covers reports whether all contains every element of some.
func covers[T comparable](all, some []T) bool {
	return !slices.ContainsFunc(some, func(s T) bool { return !slices.Contains(all, s) })
}
