package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
)

// A PolicyTrend is the decisions by one policy.
type PolicyTrend struct {
	Policy    string       `json:"policy"` // its name; "" where none governed the image
	Decisions int          `json:"decisions"`
	Passed    int          `json:"passed"`
	Refused   int          `json:"refused"`
	Undecided int          `json:"undecided"`
	Trend     []TrendPoint `json:"trend"` // over the days or weeks of the summary's, without findings
}

// policyDay is the point of a policy's trend that a day belongs to.
func (b *Builder) policyDay(policy string, t time.Time) *TrendPoint {
	days := b.policies[policy]
	if days == nil {
		days = map[int64]*TrendPoint{}
		b.policies[policy] = days
	}

	start := t.UTC().Truncate(day)
	p := days[start.Unix()]
	if p == nil {
		p = &TrendPoint{Day: start}
		days[start.Unix()] = p
	}
	return p
}

// policyTrends are the trends of all policies, those with most refusals first. Each has the points of the summary's
// trend, so that they can be compared.
func (b *Builder) policyTrends(all []TrendPoint) []PolicyTrend {
	out := []PolicyTrend{}
	for _, name := range slices.Sorted(maps.Keys(b.policies)) {
		t := PolicyTrend{Policy: name, Trend: make([]TrendPoint, 0, len(all))}
		for _, p := range all {
			t.Trend = append(t.Trend, TrendPoint{Day: p.Day, Findings: map[attestor.Severity]int{}})
		}

		// A long trend has one point for several days: each day is added to the point that it lies in.
		step := day
		if len(all) > 1 {
			step = all[1].Day.Sub(all[0].Day)
		}
		for _, p := range b.policies[name] {
			into := &t.Trend[int(p.Day.Sub(all[0].Day)/step)]
			into.Passed, into.Refused, into.Undecided = into.Passed+p.Passed, into.Refused+p.Refused,
				into.Undecided+p.Undecided
			t.Passed, t.Refused, t.Undecided = t.Passed+p.Passed, t.Refused+p.Refused, t.Undecided+p.Undecided
		}
		t.Decisions = t.Passed + t.Refused + t.Undecided
		out = append(out, t)
	}

	slices.SortStableFunc(out, func(a, b PolicyTrend) int {
		return cmp.Or(b.Refused-a.Refused, b.Decisions-a.Decisions, strings.Compare(a.Policy, b.Policy))
	})
	return out
}

// points are a trend for a chart.
func points(trend []TrendPoint) []page.Point {
	out := make([]page.Point, 0, len(trend))
	for _, p := range trend {
		out = append(out, page.Point{Day: p.Day, Passed: p.Passed, Refused: p.Refused, Undecided: p.Undecided})
	}
	return out
}

// figure is a policy's trend for a chart.
func (t PolicyTrend) figure() page.PolicyFigure {
	return page.PolicyFigure{
		Name: t.Policy, Passed: t.Passed, Refused: t.Refused, Undecided: t.Undecided, Trend: points(t.Trend),
	}
}

// overrideState says whether an override admits its image now.
func overrideState(d attestor.Decision) string {
	switch s := d.OverrideState; {
	case s == nil && d.Revoked == nil:
		return "" // a decision of its own, or of a version that kept no state
	case s != nil && s.Overdue:
		return page.OverrideOverdue
	case s != nil && s.Open:
		return page.OverrideOpen
	}
	return page.OverrideEnded
}
