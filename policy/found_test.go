package policy_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// foundBy is what a check says it saw.
func foundBy(t *testing.T, v attestor.Verdict, check string) string {
	t.Helper()
	for _, c := range v.Checks() {
		if c.Name == check {
			return c.Found
		}
	}
	t.Fatalf("no check %s", check)
	return ""
}

// A check says what it saw, whether it passes or refuses, and of what it was not asked nothing but that.
func TestChecksSayWhatTheySaw(t *testing.T) {
	p := with(t)
	root := passing(p, on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{Configured: "app", UID: new(int64(0)), GID: new(int64(1)), Source: "passwd"}
		e.Scan.Findings = []attestor.Vulnerability{
			{ID: "CVE-2026-1", Severity: attestor.High, Fixable: true}, {ID: "CVE-2026-2", Severity: attestor.Low},
		}
	}))
	for check, want := range map[string]string{
		attestor.CheckUser:            "app (uid 0)",
		attestor.CheckVulnerabilities: "1 HIGH, 1 LOW; 1 fixable",
		attestor.CheckProvenance:      "",
	} {
		if got := foundBy(t, p.Judge(root), check); got != want {
			t.Errorf("%s: %q, want %q", check, got, want)
		}
	}

	none := passing(p, on(func(e *attestor.PlatformEvidence) { e.Base, e.User = attestor.Base{}, attestor.User{} }))
	v := p.Judge(none)
	if base, user := foundBy(t, v, attestor.CheckBase), foundBy(t, v, attestor.CheckUser); base != "no approved base found" ||
		user != "no user set" {
		t.Errorf("%q, %q", base, user)
	}

	off := with(t, "  user: {nonRoot: false}")
	if got := foundBy(t, off.Judge(root), attestor.CheckUser); got != "" {
		t.Errorf("a check that was not asked saw %q", got)
	}
}

// Of an index each platform has its own words.
func TestChecksSayWhatTheySawOfEachPlatform(t *testing.T) {
	p := with(t)
	v := p.Judge(passing(p, index(func(first, second *attestor.PlatformEvidence) {
		first.User.Configured, first.User.UID = "1000:1", new(int64(1000))
		second.User.Configured, second.User.UID = "2000:1", new(int64(2000))
	})))

	got := map[string]string{}
	for _, c := range v.Checks() {
		if c.Name == attestor.CheckUser {
			got[c.Platform] = c.Found
		}
	}
	if len(got) != 2 || got["linux/amd64"] != "1000:1" || got["linux/arm64"] != "2000:1" {
		t.Errorf("%v", got)
	}
}

// What a check says of itself is what is said of a record of a version before, whose checks say nothing.
func TestOlderRecordsSayTheSame(t *testing.T) {
	p := with(t)
	ev := passing(p, on(func(e *attestor.PlatformEvidence) {
		e.Scan.Findings = []attestor.Vulnerability{{ID: "CVE-2026-1", Severity: attestor.Low}}
	}))
	d := attestor.Decision{Checks: p.Judge(ev).Checks()}
	for _, e := range ev.Platforms {
		d.Platforms = append(d.Platforms, e.Summary(ev.Time))
	}

	said := 0
	for _, c := range d.Checks {
		older := c
		older.Found = ""
		if got, want := describe.Fact(d, older), describe.Fact(d, c); got != want {
			t.Errorf("%s: %q, but as the check has it %q", c.Name, got, want)
		}
		if c.Found != "" {
			said++
		}
	}
	if said != 3 {
		t.Errorf("%d checks say what they saw, want 3", said)
	}
}
