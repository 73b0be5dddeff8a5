package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/byprefix"
)

// A Set holds the policies in force. It is immutable and implements
// [attestor.Policies]; the zero value governs nothing.
type Set struct {
	policies []*Policy                // by name
	patterns byprefix.Index[governed] // of all policies, by what stands before the first star
	compared int                      // pairs of patterns, when the set was loaded
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

	// "r/a/**" covers "r/a" too: before its star stands "r/a/".
	s.patterns.Visit(repository+"/", func(g governed) {
		if !g.pattern.Match(repository) {
			return
		}
		for i := range out {
			if out[i].Policy == g.policy {
				// Of several patterns of one policy its most specific one counts.
				if g.pattern.Compare(out[i].Pattern) > 0 {
					out[i].Pattern = g.pattern
				}
				return
			}
		}
		out = append(out, Match{Policy: g.policy, Pattern: g.pattern})
	})

	slices.SortFunc(out, func(a, b Match) int { return cmp.Compare(a.Policy.ref.Name, b.Policy.ref.Name) })
	// The most specific pattern governs. Two of equal rank were refused at load, so that the order of files decides
	// nothing.
	slices.SortStableFunc(out, func(a, b Match) int { return b.Pattern.Compare(a.Pattern) })
	return out
}

// A governed pattern is one of a policy's.
type governed struct {
	policy  *Policy
	pattern attestor.Pattern
	n       int // among the policy's
	order   int // of the policy, as files were read
}

// stem is what a pattern's matches begin with.
func stem(p attestor.Pattern) string {
	before, _, _ := strings.Cut(p.String(), "*")
	return before
}

// index files the patterns.
func (s *Set) index() {
	for order, p := range s.policies {
		for n, pattern := range p.doc.Spec.Images {
			s.patterns.Add(stem(pattern), governed{p, pattern, n, order})
		}
	}
}

// ties reports patterns of different policies that are equally specific for
// some repository, unless a third pattern of the same two is more specific
// there: that would be too subtle to rely on.
func (s *Set) ties() Errors {
	// Patterns of one policy never tie. A caller may try a policy of many thousand patterns with one stem: each would
	// be met with each.
	if len(s.policies) < 2 {
		return nil
	}

	var errs Errors
	for order, p := range s.policies {
		for n, pattern := range p.doc.Spec.Images {
			if len(errs) > maxErrors {
				return errs
			}
			s.tiesOf(governed{p, pattern, n, order}, &errs)
		}
	}
	return errs
}

// tiesOf compares a pattern with those whose stem it begins with. Of two that are equally specific and cover one
// repository, one begins with the other's stem: their leading literal segments are the same, and so is what both of the
// first segments with a star begin with, as far as the shorter goes. So each pair is met.
func (s *Set) tiesOf(g governed, errs *Errors) {
	own := stem(g.pattern)
	s.patterns.Visit(own, func(o governed) {
		// Two with the same stem meet twice.
		if o.policy == g.policy || len(stem(o.pattern)) == len(own) && o.order > g.order || len(*errs) > maxErrors {
			return
		}
		s.compared++

		// The cheap questions come first: Overlaps is asked of few pairs.
		if g.pattern.Compare(o.pattern) != 0 || !endAlike(g.pattern, o.pattern) || !g.pattern.Overlaps(o.pattern) {
			return
		}

		// The error stands where the one is that was read later.
		later, former := g, o
		if later.order < former.order {
			later, former = former, later
		}
		path := fmt.Sprintf("spec.images[%d]", later.n)
		at := later.policy.places[path]
		*errs = append(*errs, Diagnostic{File: later.policy.file, Line: at.line, Column: at.column, Path: path,
			Message: fmt.Sprintf(
				"%q and %q of policy %q (%s) are equally specific for some image, so that neither governs it; "+
					"make one of them more specific",
				later.pattern, former.pattern, former.policy.ref.Name, former.policy.file,
			)})
	})
}

// endAlike reports whether what follows the last star of two patterns can be the end of one text. It is a cheaper
// question than Overlaps, and never says no where that says yes.
func endAlike(a, b attestor.Pattern) bool {
	end := func(p attestor.Pattern) string { return p.String()[strings.LastIndexByte(p.String(), '*')+1:] }
	x, y := end(a), end(b)
	return strings.HasSuffix(x, y) || strings.HasSuffix(y, x)
}

// seal puts the policies in order and names them.
func (s *Set) seal() {
	slices.SortFunc(s.policies, func(a, b *Policy) int { return cmp.Compare(a.ref.Name, b.ref.Name) })
	var b strings.Builder
	for _, p := range s.policies {
		// The file's name counts too: a policy that moved to another file is a change that records show.
		fmt.Fprintln(&b, p.ref.Digest, p.file)
	}
	s.digest = attestor.DigestOf([]byte(b.String()))
}
