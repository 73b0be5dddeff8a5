package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A Set holds the policies in force. It is immutable and implements
// [attestor.Policies]; the zero value governs nothing.
type Set struct {
	policies []*Policy // by name
	byName   map[string]*Policy
	digest   attestor.Digest
}

var _ attestor.Policies = (*Set)(nil)

// Govern returns the policy whose most specific matching pattern is the most
// specific of all. That there is no tie was checked at load.
func (s *Set) Govern(repository string) (attestor.Policy, bool) {
	if m := s.matches(repository); len(m) > 0 {
		return m[0].Policy, true
	}
	return nil, false
}

// Named returns a policy by its name.
func (s *Set) Named(name string) (attestor.Policy, bool) {
	if s == nil || s.byName[name] == nil {
		return nil, false
	}
	return s.byName[name], true
}

// All lists the policies by name.
func (s *Set) All() []*Policy {
	if s == nil {
		return nil
	}
	return slices.Clone(s.policies)
}

// Digest names the whole set's text.
func (s *Set) Digest() attestor.Digest { return s.digest }

// A Match is a policy that covers a repository, and by which pattern.
type Match struct {
	Policy  *Policy
	Pattern attestor.Pattern
}

// Explain lists every policy that covers a repository, the one that governs
// first.
func (s *Set) Explain(repository string) []Match { return s.matches(repository) }

func (s *Set) matches(repository string) []Match {
	var out []Match
	if s == nil {
		return nil
	}
	for _, p := range s.policies {
		var best *attestor.Pattern
		for _, pattern := range p.doc.Spec.Images {
			if pattern.Match(repository) && (best == nil || pattern.Compare(*best) > 0) {
				best = &pattern
			}
		}

		if best != nil {
			out = append(out, Match{Policy: p, Pattern: *best})
		}
	}
	// The most specific pattern governs. Two of equal rank were refused at load, so that the order of files decides nothing.
	slices.SortStableFunc(out, func(a, b Match) int { return b.Pattern.Compare(a.Pattern) })
	return out
}

// ties reports patterns of different policies that are equally specific for
// some repository, unless a third pattern of the same two is more specific
// there: that would be too subtle to rely on.
func (s *Set) ties() Errors {
	var errs Errors
	for i, p := range s.policies {
		for _, q := range s.policies[:i] {
			for n, a := range p.doc.Spec.Images {
				for _, b := range q.doc.Spec.Images {
					if a.Compare(b) != 0 || !a.Overlaps(b) {
						continue
					}
					path := fmt.Sprintf("spec.images[%d]", n)
					at := p.places[path]
					errs = append(
						errs,
						Diagnostic{File: p.file, Line: at.line, Column: at.column, Path: path, Message: fmt.Sprintf(
							"%q and %q of policy %q (%s) are equally specific for some image, so that neither governs it; "+
								"make one of them more specific",
							a, b, q.ref.Name, q.file,
						)},
					)
				}
			}
		}
	}
	return errs
}

// seal puts the policies in order and names them.
func (s *Set) seal() {
	slices.SortFunc(s.policies, func(a, b *Policy) int { return cmp.Compare(a.ref.Name, b.ref.Name) })
	var b strings.Builder
	for _, p := range s.policies {
		fmt.Fprintln(&b, p.ref.Digest, p.file)
	}
	s.digest = attestor.DigestOf([]byte(b.String()))
}
