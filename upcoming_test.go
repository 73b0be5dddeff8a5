package attestor_test

import (
	"fmt"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/google/go-cmp/cmp"
)

func TestUpcomingCounts(t *testing.T) {
	reason := func(code attestor.Code, from, owner string) attestor.Reason {
		return attestor.Reason{Code: code, Severity: attestor.Warns, EffectiveFrom: from, Owner: owner}
	}
	d := attestor.Decision{Checks: []attestor.Check{
		{Name: attestor.CheckUser, Status: attestor.StatusWarn, Reasons: []attestor.Reason{
			{Code: attestor.CodeGroupRoot, Severity: attestor.Warns}, reason(attestor.CodeUserRoot, "2027-03-01", "a"),
		}},
		{Name: attestor.CheckBase, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{Code: attestor.CodeBaseOutdated, Severity: attestor.Refuses}}},
	}}
	if diff := cmp.Diff([]attestor.Reason{reason(attestor.CodeUserRoot, "2027-03-01", "a")}, d.Upcoming()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	var c attestor.UpcomingCounts
	if got := c.List(); got == nil || len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 12 {
		c.Add(fmt.Sprintf("image-%02d", i), d.Upcoming())
		c.Add(fmt.Sprintf("image-%02d", i), d.Upcoming())
	}
	c.Add("image-00", []attestor.Reason{
		reason(attestor.CodeUserRoot, "2027-03-01", "b"), reason(attestor.CodeUserRoot, "2026-12-31", "z"), {Code: attestor.CodeUserRoot},
	})
	var got []string
	for _, u := range c.List() {
		got = append(got, fmt.Sprintf("%s %s %d %d %d", u.EffectiveFrom, u.Owner, u.Images, u.ByReason[attestor.CodeUserRoot], len(u.Examples)))
	}
	if diff := cmp.Diff([]string{"2026-12-31 z 1 1 1", "2027-03-01 a 12 12 10", "2027-03-01 b 1 1 1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
