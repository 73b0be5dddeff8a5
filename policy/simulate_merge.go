package policy

import (
	"cmp"
	"slices"

	"github.com/attestor-gate/attestor"
)

// A Merger joins the reports of parts of a record into one: of each image one decision was given as its newest one, in
// one of the parts.
type Merger struct {
	report Report
	flips  map[string]int // position in the report, by image and direction
}

// NewMerger begins with what an earlier Merger reported, or with the zero Report.
func NewMerger(earlier Report) *Merger {
	m := &Merger{report: newReport(), flips: map[string]int{}}
	m.Add(earlier)
	return m
}

// Add joins one more part.
func (m *Merger) Add(part Report) {
	r := &m.report
	r.Records += part.Records
	r.Judged += part.Judged
	r.Outside += part.Outside
	r.Sample = max(r.Sample, part.Sample)
	addOutcomes(r.Before, part.Before)
	addOutcomes(r.After, part.After)
	r.Images.Judged += part.Images.Judged
	addOutcomes(r.Images.Before, part.Images.Before)
	addOutcomes(r.Images.After, part.Images.After)
	r.Upcoming = mergeUpcoming(r.Upcoming, part.Upcoming)

	for _, f := range part.Flips {
		key := flipKey(f)
		if i, seen := m.flips[key]; seen {
			r.Flips[i] = joinFlips(r.Flips[i], f)
			continue
		}
		m.flips[key] = len(r.Flips)
		r.Flips = append(r.Flips, f)
	}
}

// Report is the whole until now. Its sums by reason and owner count each flip once, by the reasons that it lists.
func (m *Merger) Report() Report {
	out := m.report
	out.Flips = slices.Clone(out.Flips)
	out.sort()
	out.ByReason, out.ByOwner = map[attestor.Code]int{}, map[string]int{}
	for _, f := range out.Flips {
		out.ByOwner[f.Owner]++
		seen := map[attestor.Code]bool{}
		for _, reason := range f.Reasons {
			if !seen[reason.Code] {
				seen[reason.Code] = true
				out.ByReason[reason.Code]++
			}
		}
	}
	return out
}

func addOutcomes(to, from map[attestor.Outcome]int) {
	for o, n := range from {
		to[o] += n
	}
}

// maxExamples is how many images one day names.
const maxExamples = 10

// mergeUpcoming adds up days. No image is in both.
func mergeUpcoming(a, b []attestor.Upcoming) []attestor.Upcoming {
	for _, u := range b {
		i := slices.IndexFunc(a, func(o attestor.Upcoming) bool {
			return o.EffectiveFrom == u.EffectiveFrom && o.Owner == u.Owner
		})
		if i < 0 {
			a = append(a, attestor.Upcoming{EffectiveFrom: u.EffectiveFrom, Owner: u.Owner,
				ByReason: map[attestor.Code]int{}, Examples: []string{}})
			i = len(a) - 1
		}
		a[i].Images += u.Images
		for code, n := range u.ByReason {
			a[i].ByReason[code] += n
		}
		a[i].Examples = append(a[i].Examples, u.Examples[:min(len(u.Examples), maxExamples-len(a[i].Examples))]...)
	}

	slices.SortFunc(a, func(a, b attestor.Upcoming) int {
		return cmp.Or(cmp.Compare(a.EffectiveFrom, b.EffectiveFrom), cmp.Compare(a.Owner, b.Owner))
	})
	return a
}
