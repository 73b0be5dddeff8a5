package posture

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// A guard must be effective for nearly all addresses that a policy lets in: a range of its owner's that is let past it
// is a choice, half of the Internet is not.
const nearlyAll = 0.9

// maxTrials bounds how often one policy is tried.
const maxTrials = 1 << 17

// stops reports whether the policy denies attacks of a family that it would let in without its rule for them: a rule
// that never has its turn, or whose requests another rule denies anyway, guards nothing.
func (a armor) stops(attack string) bool {
	return a.effective(func(q request) (concerned, guarded bool) {
		harmless := a.lets(q)
		q.attack = attack
		passed := a.lets(q)

		return harmless || passed, harmless && !passed
	})
}

// limits reports whether the policy throttles or bans the callers that it lets in.
func (a armor) limits() bool {
	return a.effective(func(q request) (concerned, guarded bool) {
		r := a.decide(q)

		return a.lets(q), r != nil && r.limits && (r.action == "throttle" || r.action == "rate_based_ban")
	})
}

// lets reports whether a request gets past the policy. What is redirected, or throttled within its rate, does.
func (a armor) lets(q request) bool {
	r := a.decide(q)
	return r == nil || !r.denies()
}

// maxRanges bounds the ranges by which addresses are divided: the work grows with the square of their number.
const maxRanges = 512

// widest are the widest ranges of a family that the policy tells apart, and the share of all addresses that is in those
// beyond [maxRanges].
func (a armor) widest(family netip.Prefix) (ranges []netip.Prefix, left float64) {
	all := slices.DeleteFunc(a.prefixes(), func(p netip.Prefix) bool {
		return p.Addr().Is4() != family.Addr().Is4()
	})
	slices.SortFunc(all, func(p, q netip.Prefix) int {
		return cmp.Or(cmp.Compare(p.Bits(), q.Bits()), p.Addr().Compare(q.Addr()))
	})
	all = slices.Compact(all)

	// The narrowest are left out. A list of single addresses, however long, is a small share of all.
	for _, p := range all[min(len(all), maxRanges):] {
		left += math.Pow(2, -float64(p.Bits()))
	}

	return all[:min(len(all), maxRanges)], left
}

// effective tries the policy on requests of every kind that its rules tell apart, from every part of the addresses that
// they tell apart. It reports whether there is a kind of request for which the guard works nearly everywhere, for IPv4
// and for IPv6, or whether nothing gets in at all. Answers to its questions are tried in all combinations, as far as
// [maxTrials] allows: a question that is left out counts as answered with no.
func (a armor) effective(try func(request) (concerned, guarded bool)) bool {
	questions := a.questions()

	for _, family := range []string{"0.0.0.0/0", "::/0"} {
		ranges, left := a.widest(netip.MustParsePrefix(family))

		// What is let in from too many ranges to try may be anything: no guard is shown to work there.
		if left > 1-nearlyAll {
			return false
		}
		parts := crowds(netip.MustParsePrefix(family), ranges)

		n := len(questions)

		// Each question doubles the work. Those of rules that guard come first, so that the last ones are left out.
		for n > 0 && len(parts)*(1+len(a))<<n > maxTrials {
			n--
		}

		works, open, impossible := false, false, contradictions(questions[:n])
		for answers := range 1 << n {
			// No request is of this kind: a rule that would guard against it guards nothing.
			if !possible(impossible, answers) {
				continue
			}
			q := request{facts: map[string]bool{}}
			for i := range n {
				q.facts[questions[i].text] = answers>>i&1 == 1
			}

			all, guarded := 0.0, 0.0
			for _, part := range parts {
				q.address = part.address
				concerned, ok := try(q)
				if concerned {
					all += part.share
				}
				if concerned && ok {
					guarded += part.share
				}
			}

			open = open || all > 0
			works = works || all > 0 && guarded >= nearlyAll*all
		}

		// A family in which nothing gets in needs no guard.
		if open && !works {
			return false
		}
	}

	return true
}
