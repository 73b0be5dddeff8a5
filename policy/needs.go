package policy

import (
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// needs compiles what must be found out. The document is valid.
func (s *Spec) needs() attestor.Needs {
	n := attestor.Needs{
		Platforms:    s.Platforms,
		ResolveNames: s.User.NonRoot && s.User.Names == NamesResolve,
		BaseRequired: s.Base.Required,
		BaseEvidence: s.Base.Evidence,
		UploadTime:   s.Scope != nil && s.Scope.MaxUploadAge > 0,
		Scan: attestor.ScanNeeds{
			Required: s.Vulnerabilities.Scan.required(), Trusted: s.Vulnerabilities.Scan.Trusted,
			Projects: s.Vulnerabilities.Scan.Projects, Advisories: len(s.Vulnerabilities.GracePeriod) > 0,
		},
		Attest: attestor.AttestNeeds{
			Attestors: s.Attestors, Children: *s.Attest.Children, DSSE: s.Attest.DSSE, DSSENote: s.Attest.DSSENote,
		},
	}
	if v := s.Vulnerabilities.VEX; v != nil {
		n.Scan.VEXProjects = v.Projects
	}
	if b := s.BreakGlass; b != nil && b.Allowed {
		n.Attest.BreakGlass = b.Attestors
	}
	for _, a := range s.Base.Approved {
		n.Bases = append(n.Bases, attestor.ApprovedBase{
			Name: a.Name, Repository: a.Repository, Tags: a.Tags, Digests: a.Digests,
			MaxBehind: time.Duration(a.MaxBehind), SignedBy: a.SignedBy.rule(),
		})
	}
	if p := s.Provenance; p != nil {
		n.Provenance = &attestor.ProvenanceNeeds{Builders: p.Builders, SignedBy: p.SignedBy.rule()}
	}
	return n
}

func (s *SignedBy) rule() *attestor.SignedBy {
	if s == nil {
		return nil
	}
	r := &attestor.SignedBy{Key: s.Key, TrustedRoot: s.TrustedRoot, Transparency: s.Transparency}
	if s.Keyless != nil {
		r.Issuer, r.Subject, r.SubjectRegexp = s.Keyless.Issuer, s.Keyless.Subject, s.Keyless.SubjectRegexp
	}
	return r
}

// required is true unless the policy says otherwise in so many words.
func (s *Scan) required() bool { return s.Required == nil || *s.Required }

// missing names the checks that next asks about and that evidence gathered for
// earlier needs cannot answer.
func missing(earlier, next attestor.Needs) map[string]string {
	out := map[string]string{}
	if next.BaseRequired && !basesCovered(earlier, next) {
		out[attestor.CheckBase] = "the approved bases, or the proof asked for, are not those that were looked up"
	}
	if next.ResolveNames && !earlier.ResolveNames {
		out[attestor.CheckUser] = "user names were not looked up"
	}
	if next.UploadTime && !earlier.UploadTime {
		out[attestor.CheckScope] = "the upload time was not asked for"
	}
	e, n := earlier.Scan, next.Scan
	switch {
	case !covers(e.Trusted, n.Trusted) || !covers(n.Trusted, e.Trusted) || !covers(e.Projects, n.Projects) || !covers(n.Projects, e.Projects):
		out[attestor.CheckVulnerabilities] = "other scanners or projects were asked"
	case !covers(e.VEXProjects, n.VEXProjects):
		out[attestor.CheckVulnerabilities] = "VEX statements of other projects were read"
	case n.Advisories && !e.Advisories:
		out[attestor.CheckVulnerabilities] = "publication dates were not asked for"
	}
	if next.Provenance != nil && (earlier.Provenance == nil || earlier.Provenance.SignedBy.Text() != next.Provenance.SignedBy.Text()) {
		out[attestor.CheckProvenance] = "provenance was not verified by these rules"
	}
	return out
}

// basesCovered reports whether every entry of next was looked up as it stands
// there, signature rule and level included.
func basesCovered(earlier, next attestor.Needs) bool {
	if !earlier.BaseRequired || !next.BaseEvidence.Satisfies(earlier.BaseEvidence) {
		return false
	}
	for _, b := range next.Bases {
		if !slices.ContainsFunc(earlier.Bases, func(a attestor.ApprovedBase) bool {
			return a.Name == b.Name && a.Repository == b.Repository && a.SignedBy.Text() == b.SignedBy.Text() &&
				slices.Equal(a.Tags, b.Tags) && covers(a.Digests, b.Digests)
		}) {
			return false
		}
	}
	return true
}

// covers reports whether all holds each of some.
func covers[T comparable](all, some []T) bool {
	return !slices.ContainsFunc(some, func(s T) bool { return !slices.Contains(all, s) })
}
