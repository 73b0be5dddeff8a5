package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// Lint and explain know the dates.
func TestDatesAreTold(t *testing.T) {
	set, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t,
		"    maximumFixableSeverity: {value: MEDIUM, "+from+"}", "    maximumUnfixableSeverity: {value: MEDIUM, until: HIGH, "+from+"}",
		"  user: {nonRoot: {value: true, effectiveFrom: {date: 2026-11-20, owner: o}}}"))})
	if err != nil {
		t.Fatal(err)
	}
	odd := func(now time.Time) string {
		var lines []string
		for _, d := range set.Lint(now) {
			lines = append(lines, d.String())
		}
		return strings.Join(lines, "\n")
	}
	for now, wants := range map[time.Time]map[string]bool{
		today(): {"maximumFixableSeverity: findings of every severity only warn until " +
			"2027-03-01": true, "spec.user.nonRoot.effectiveFrom: has been in effect since 2026-11-20": true,
			"maximumUnfixableSeverity": false},
		today().AddDate(0, 0, -1): {"spec.user.nonRoot": false},
		march(): {"maximumFixableSeverity.effectiveFrom: has been in effect since 2027-03-01": true,
			"maximumUnfixableSeverity.effectiveFrom": true},
	} {
		for text, want := range wants {
			if got := odd(now); strings.Contains(got, text) != want {
				t.Errorf("on %s: %q: %v, want %v:\n%s", now.Format(time.DateOnly), text, !want, want, got)
			}
		}
	}

	p := set.All()[0]
	want := []string{
		"vulnerabilities.maximumFixableSeverity refuses from 2027-03-01 on (owner: platform-team); until then it only warns",
		"vulnerabilities.maximumUnfixableSeverity refuses from 2027-03-01 on (owner: platform-team); until then the value is HIGH",
	}
	slices.Sort(want)
	got := p.Dates(today())
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, w := range want {
		if !slices.Contains(p.Demands(), w) {
			t.Errorf("explain does not say: %s", w)
		}
	}
	if got := p.Dates(march()); len(got) != 0 {
		t.Errorf("on the day: %v", got)
	}
}

// A policy with dates means the same once it was written out.
func TestCanonicalKeepsDates(t *testing.T) {
	for name, tt := range datedParts() {
		p := with(t, tt.lines...)
		text := canonical(t, p)
		again := one(t, text)
		if diff := cmp.Diff(text, canonical(t, again)); diff != "" {
			t.Errorf("%s (-first +second):\n%s", name, diff)
		}
		bad := passing(p, tt.change)
		for _, moment := range []time.Time{today(), march()} {
			if a, b := p.Judge(at(bad, moment)), again.Judge(at(bad, moment)); a.Outcome() != b.Outcome() || !cmp.Equal(a.Checks(), b.Checks()) {
				t.Errorf("%s: %s, then %s", name, a.Outcome(), b.Outcome())
			}
		}
	}
}

// What must be found out covers what counts before a date.
func TestNeedsCoverEveryStage(t *testing.T) {
	n := with(t, "    evidence: {value: layers-exact, until: attested, "+from+"}",
		"  user: {nonRoot: true, names: {value: refuse, until: resolve, "+from+"}}").Needs()
	if n.BaseEvidence != attestor.Attested || !n.ResolveNames {
		t.Errorf("%+v", n)
	}
	if n := with(t, "    required: {value: false, until: true, "+from+"}").Needs(); !n.BaseRequired || len(n.Bases) != 2 {
		t.Errorf("%+v", n)
	}
}

// A simulation counts what is refused later, by date, and can be made on a later day.
func TestSimulateDates(t *testing.T) {
	old := with(t)
	set, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, "  user: {nonRoot: {value: true, "+from+"}}"))})
	if err != nil {
		t.Fatal(err)
	}
	root := on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{UID: new(int64(0)), GID: new(int64(1)), Source: "config"}
	})
	records := func(yield func(attestor.Record, error) bool) {
		for i := range 15 {
			ev := passing(old)
			if i > 0 {
				root(&ev)
			}
			ref, _ := attestor.ParseReference(fmt.Sprintf("%s%d@%s", prodImage, i/2, ev.Image.Digest()))
			ev.Image, _ = ref.Pinned()
			if !yield(attestor.Record{Decision: attestor.Decision{Verdict: attestor.Pass, Time: ev.Time,
				Image: attestor.DecidedImage{Reference: ev.Image.String()}}, Evidence: ev,
				PolicyText: old.Text()}, nil) {
				return
			}
		}
	}
	r, err := policy.Simulate(set, records)
	if err != nil {
		t.Fatal(err)
	}

	// 15 decisions on 8 images, of which the first was decided once well and once badly.
	if len(r.Upcoming) != 1 || r.After[attestor.Pass] != 15 || len(r.Flips) != 0 {
		t.Fatalf("%+v", r)
	}
	u := r.Upcoming[0]
	if u.EffectiveFrom != "2027-03-01" || u.Owner != "platform-team" || u.Images != 8 || u.ByReason[attestor.CodeUserNotSet] != 8 || len(u.Examples) != 8 {
		t.Errorf("%+v", u)
	}
	if want := "refused from 2027-03-01 (owner: platform-team): 8 images"; !strings.Contains(r.Summary(), want) {
		t.Errorf("%s, want %s", r.Summary(), want)
	}

	// The evidence is months old by then, and does not become too old for it: only the policy's dates are that day's.
	r, err = policy.SimulateAt(set, records, march())
	if err != nil || len(r.Upcoming) != 0 || r.After[attestor.Deny] != 14 || r.After[attestor.Pass] != 1 {
		t.Errorf("on the day: %+v, %v", r, err)
	}
	if r.ByReason[attestor.CodeUserNotSet] != 8 || len(r.ByReason) != 1 {
		t.Errorf("on the day: %+v", r.ByReason)
	}
}
