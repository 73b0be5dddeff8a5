package policy

import (
	"slices"

	"github.com/attestor-gate/attestor"
)

// reachable lists the codes that judging by these policies can give, beyond
// what the evidence brings along as problems.
func (s *Set) reachable() []attestor.Code {
	out := []attestor.Code{}
	for _, p := range s.policies {
		out = append(out, p.reachable()...)
	}
	return sortedCodes(out)
}

func (p *Policy) reachable() []attestor.Code {
	s := &p.doc.Spec
	var given givenCodes
	given.can(s.Platforms != nil, attestor.CodePlatformNotAllowed)
	for _, c := range p.checks {
		if c.codes != nil {
			given = append(given, c.codes(s)...)
		}
	}

	given.can(len(s.Rules) > 0, attestor.CodeRuleViolated)
	given.can(len(p.exceptions) > 0, attestor.CodeExceptionExpired)

	var out []attestor.Code
	for _, g := range given {
		if g.possible {
			out = append(out, g.code)
		}
	}
	return out
}

// never reports whether the policy's settings exclude a denial for a code. Codes that the evidence can bring along as
// problems are never excluded.
func (p *Policy) never(code attestor.Code) bool {
	excluded := false
	for _, c := range p.checks {
		if c.codes == nil {
			continue
		}
		for _, g := range c.codes(&p.doc.Spec) {
			if g.code == code {
				excluded = g.alone && !g.possible
			}
		}
	}
	return excluded
}

// remarks reports whether reasons with a code never refuse.
func (p *Policy) remarks(code attestor.Code) bool {
	return slices.ContainsFunc(p.checks, func(c check) bool { return slices.Contains(c.remarks, code) })
}
