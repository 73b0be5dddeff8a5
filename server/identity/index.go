package identity

import (
	"cmp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor/internal/byprefix"
)

// An index finds the rules that may match a token without looking at the others. Each rule is filed once, under one
// thing that it requires; whether it matches is up to [Rule.matches] alone, so that a rule filed wrongly could only be
// missed, which denies.
type index struct {
	exact    map[value][]*Rule
	prefixes map[claim]*byprefix.Index[*Rule] // of patterns, by what stands before their first star
	suffixes map[claim]map[string][]*Rule     // of emails, by domain
}

// A claim is one of an issuer's.
type claim struct{ issuer, name string }

// A value is what a claim must be.
type value struct {
	claim
	text string
}

// newIndex files rules, in time linear in what they say. Their order is that of answers.
func newIndex(rules []Rule) *index {
	// A rule is filed under the rarest of its exact values: thousands may ask for the same environment.
	common := map[value]int{}
	for i := range rules {
		for _, v := range rules[i].exactValues() {
			common[v]++
		}
	}

	x := &index{exact: map[value][]*Rule{}, prefixes: map[claim]*byprefix.Index[*Rule]{},
		suffixes: map[claim]map[string][]*Rule{}}
	for i := range rules {
		r := rules[i]
		r.order = i
		values := r.exactValues()
		if len(values) > 0 {
			rarest := slices.MinFunc(values, func(a, b value) int {
				return cmp.Or(common[a]-common[b], strings.Compare(a.name+a.text, b.name+b.text))
			})
			x.exact[rarest] = append(x.exact[rarest], &r)
			continue
		}
		x.filePattern(&r)
	}
	return x
}

// exactValues are the exact values, all of which a rule asks for.
func (r *Rule) exactValues() []value {
	issuer := cmp.Or(r.Issuer, Google)
	var out []value
	if r.Email != "" {
		out = append(out, value{claim{issuer, emailClaim}, r.Email})
	}
	if r.Subject != "" {
		out = append(out, value{claim{issuer, subjectClaim}, r.Subject})
	}
	for name, text := range r.Claims {
		out = append(out, value{claim{issuer, name}, text})
	}
	return out
}

// filePattern files a rule that has patterns alone: under the longest text that one of them begins with, or under an
// email's domain.
func (x *index) filePattern(r *Rule) {
	issuer := cmp.Or(r.Issuer, Google)
	name, longest := "", ""
	for n, pattern := range r.Patterns {
		if before, _, _ := strings.Cut(pattern, "*"); len(before) > len(longest) || len(before) == len(longest) &&
			n > name {
			name, longest = n, before
		}
	}

	key := claim{issuer, name}
	if pattern := r.Patterns[name]; longest == "" && name == emailClaim {
		if x.suffixes[key] == nil {
			x.suffixes[key] = map[string][]*Rule{}
		}
		domain := emailDomain(pattern)
		x.suffixes[key][domain] = append(x.suffixes[key][domain], r)
		return
	}

	if x.prefixes[key] == nil {
		x.prefixes[key] = &byprefix.Index[*Rule]{}
	}
	x.prefixes[key].Add(longest, r)
}

// match lists the rules that match a token of the issuer, in the order in which they were given.
func (x *index) match(issuer string, c claims) []*Rule {
	var out []*Rule
	x.candidates(issuer, c, func(r *Rule) {
		if cmp.Or(r.Issuer, Google) == issuer && r.matches(c) {
			out = append(out, r)
		}
	})
	slices.SortFunc(out, func(a, b *Rule) int { return a.order - b.order })
	return out
}

// candidates visits the rules that are filed under what a token has, each once: a rule is filed once, and a claim has
// one value.
func (x *index) candidates(issuer string, c claims, visit func(*Rule)) {
	visitAll := func(filed []*Rule) {
		for _, r := range filed {
			visit(r)
		}
	}

	// A token has 16 KiB at most, and so few claims.
	for name, v := range c.all {
		text, ok := v.(string)
		if !ok {
			continue
		}
		key := claim{issuer, name}
		visitAll(x.exact[value{key, text}])
		if name == emailClaim {
			visitAll(x.suffixes[key][emailDomain(text)])
		}
		if p := x.prefixes[key]; p != nil {
			p.Visit(text, visit)
		}
	}
}

// SetTeams puts the rules of teams in force, in place of those from before. Each must have passed [Tokens.Check]. The
// configuration's own stay.
func (t *Tokens) SetTeams(rules []Rule) {
	t.rules.Store(newIndex(slices.Concat(t.c.Rules, rules)))
}

// A Described caller is one that a person describes, as its token would.
type Described struct {
	Issuer  string // "": Google
	Email   string // taken as verified
	Subject string
	Claims  map[string]string
}

// Explain lists the rules in force that match a described caller, and the team whose share it uses. It decides nothing:
// a token is matched by [Tokens.Authenticate] alone.
func (t *Tokens) Explain(d Described) (matched []Rule, team string) {
	c := claims{email: d.Email, verified: d.Email != "", all: map[string]any{}}
	c.Subject = d.Subject
	for name, text := range d.Claims {
		c.all[name] = text
	}
	if d.Email != "" {
		c.all[emailClaim] = d.Email
	}
	if d.Subject != "" {
		c.all[subjectClaim] = d.Subject
	}

	found := t.rules.Load().match(cmp.Or(d.Issuer, Google), c)
	for _, r := range found {
		matched = append(matched, *r)
	}
	return matched, teamOf(found)
}
