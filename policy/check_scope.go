package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

func scopeCheck() check {
	return check{
		name: attestor.CheckScope,
		asks: func(s *Spec) asking { return requiredIf(s.Scope != nil) },
		needs: func(s *Spec, n *attestor.Needs) {
			n.UploadTime = s.Scope != nil && s.Scope.MaxUploadAge > 0
		},
		lacks: func(_ *Policy, earlier, next attestor.Needs) lack {
			// The time may be one that the policy refuses.
			if next.UploadTime && !earlier.UploadTime {
				return lack{why: noUploadTime}
			}
			return lack{}
		},
		validate: func(v *validator, s *Spec) { v.scope(s.Scope) },
		lint:     (*linter).scope,
		demands:  scopeDemands,
		codes: func(s *Spec) (out givenCodes) {
			out.only(s.Scope != nil && len(s.Scope.TrustedDirectories) > 0 && !s.trusted(), attestor.CodeOutOfScope)
			out.only(s.Scope != nil && s.Scope.MaxUploadAge > 0, attestor.CodeUploadTooOld)
			out.can(s.Scope != nil && s.Scope.MaxUploadAge > 0, attestor.CodeUploadTimeUnknown)
			return out
		},
		exemplary: func(_ *Spec, ev *attestor.Evidence) { ev.Uploaded = new(ev.Time.Add(-time.Hour)) },
		ofImage:   (*judgement).scope,
	}
}

func scopeDemands(s *Spec) []string {
	if s.Scope == nil {
		return nil
	}

	var out []string
	if len(s.Scope.TrustedDirectories) > 0 {
		out = append(out, fmt.Sprintf("scope: in one of %v", s.Scope.TrustedDirectories))
	}
	if s.Scope.MaxUploadAge > 0 {
		out = append(out, fmt.Sprintf("scope: uploaded at most %s ago", s.Scope.MaxUploadAge))
	}
	return out
}

func (j *judgement) scope() {
	s, repo := j.spec.Scope, j.ev.Image.Repository()
	found := j.problems(attestor.CheckScope, j.ev.Problems)
	switch {
	case s == nil && len(found) == 0:
		j.skip(attestor.CheckScope, "", "the policy has no scope beyond its images")
		return
	// An image that was not resolved does not pass: a problem of platforms says why.
	case repo == "":
		j.skip(attestor.CheckScope, "", "the image was not resolved")
		return
	case s == nil:
		j.conclude(attestor.CheckScope, "", found)
		return
	}

	// The repository is compared in its canonical form, by path segment: no other spelling of a name matches.
	if len(s.TrustedDirectories) > 0 &&
		!slices.ContainsFunc(s.TrustedDirectories, func(p attestor.Pattern) bool { return p.Match(repo) }) {
		found = append(found, deny(
			attestor.CodeOutOfScope, repo,
			fmt.Sprintf("%s is in none of the trusted directories %v", repo, s.TrustedDirectories),
			"push the image to one of them, or add its directory to spec.scope.trustedDirectories",
		))
	}

	if longest := time.Duration(s.MaxUploadAge); longest > 0 {
		found = append(found, j.uploadAge(longest, len(found) > 0)...)
	}
	j.conclude(attestor.CheckScope, "", found)
}

func (j *judgement) uploadAge(longest time.Duration, explained bool) []finding {
	up := j.ev.Uploaded

	// An age that is not known may be any: an error, which a problem of the look-up explains better.
	if up == nil {
		if explained &&
			slices.ContainsFunc(
				j.ev.Problems, func(p attestor.Problem) bool { return p.Check == attestor.CheckScope },
			) {
			return nil
		}

		return []finding{deny(
			attestor.CodeUploadTimeUnknown, "",
			"the time of the image's upload is not known, and spec.scope.maxUploadAge limits its age",
			"keep the image in Artifact Registry, which records it, or remove maxUploadAge",
		).as(attestor.StatusError)}
	}

	// A time that has not come is no age: a clock was wrong, and nobody knows by how much.
	age := j.ev.Time.Sub(*up)
	if age < -skew {
		return []finding{deny(
			attestor.CodeUploadTimeUnknown, "",
			fmt.Sprintf(
				"the image was uploaded on %s, by its registry, which is in the future; spec.scope.maxUploadAge limits its age",
				up.UTC().Format(time.RFC3339),
			),
			"correct the clock of the gate or of the registry, and try again",
		).as(attestor.StatusError)}
	}

	if age > longest {
		return []finding{deny(
			attestor.CodeUploadTooOld,
			"",
			fmt.Sprintf(
				"uploaded %s ago, on %s; at most %s is allowed", days(age), up.UTC().Format(dateForm),
				Duration(longest),
			),
			"rebuild and push the image",
		)}
	}
	return nil
}

func (v *validator) scope(s *Scope) {
	if s == nil {
		return
	}
	v.notEmpty("spec.scope.trustedDirectories", len(s.TrustedDirectories))
	if len(s.TrustedDirectories) == 0 && s.MaxUploadAge == 0 {
		v.at("spec.scope", "demands nothing: give trustedDirectories or maxUploadAge, or leave it out")
	}
}

func (l *linter) scope() {
	if l.s.Scope == nil {
		return
	}
	for i, dir := range l.s.Scope.TrustedDirectories {
		if dir.Unmatchable() == "" && !slices.ContainsFunc(l.s.Images, dir.Overlaps) {
			l.d.at(
				index("spec.scope.trustedDirectories", i), "%s holds none of the images that the policy governs", dir,
			)
		}
	}

	if len(l.s.Scope.TrustedDirectories) > 0 && l.s.trusted() {
		l.d.at("spec.scope.trustedDirectories", "repeats spec.images, so that it can refuse nothing")
	}
}

// trusted reports whether the scope can refuse nothing that the policy
// governs, since every pattern of images stands among its directories.
func (s *Spec) trusted() bool {
	return !slices.ContainsFunc(s.Images, func(p attestor.Pattern) bool {
		return !slices.ContainsFunc(
			s.Scope.TrustedDirectories, func(d attestor.Pattern) bool { return d.String() == p.String() },
		)
	})
}
