package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/google/go-cmp/cmp"
)

const waived = "  exceptions: [{id: W-1, check: user, subject: %s, %s owner: team-a, reason: legacy, expires: %s}]"

func rootUser(ev *attestor.Evidence) {
	ev.Platforms[0].User = attestor.User{Configured: "0", UID: new(int64), GID: new(int64(1)), Source: attestor.UserFromConfig}
}

func TestExceptionsForAnyCheck(t *testing.T) {
	const end = `owner: o, reason: r, expires: 2026-12-31}]`
	for _, tt := range []struct {
		name   string
		lines  []string
		change func(*attestor.Evidence)
	}{
		{"scope", []string{`  exceptions: [{check: scope, subject: OUT_OF_SCOPE, ` + end},
			func(ev *attestor.Evidence) { ev.Image = parseImage(t, "registry.example/acme/other/api") }},
		{"base", []string{`  exceptions: [{check: base, subject: BASE_NOT_APPROVED, ` + end},
			on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} })},
		{"user", []string{`  exceptions: [{check: user, subject: USER_ROOT, ` + end}, rootUser},
		{"user, by what was configured", []string{`  exceptions: [{check: user, subject: "0", ` + end}, rootUser},
		{"user, whatever it is", []string{`  exceptions: [{check: user, subject: "*", ` + end}, rootUser},
		{"vulnerabilities, by CVE", []string{`  exceptions: [{check: vulnerabilities, subject: CVE-1-1, ` + end},
			findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }))},
		{"vulnerabilities, in short form", []string{`    allowedCves: [{id: CVE-1-1, packages: [openssl], ` +
			`images: ["registry.example/acme/prod/*"], ` + end},
			findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }))},
		{"provenance", []string{`  exceptions: [{check: provenance, subject: PROVENANCE_MISSING, ` + end},
			on(func(e *attestor.PlatformEvidence) { e.Provenance = nil })},
		{"a rule", []string{`  rules: [{name: r, expression: "image.user == '7'", message: m}]`,
			`  exceptions: [{check: "rule:r", subject: RULE_VIOLATED, ` + end}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.lines...)
			ev := passing(p)
			if tt.change != nil {
				tt.change(&ev)
			}

			v := p.Judge(ev)
			if v.Outcome() != attestor.Pass {
				t.Fatalf("%s: %+v", v.Outcome(), v.Checks())
			}

			used := 0
			for _, c := range v.Checks() {
				for _, e := range c.Exceptions {
					used++
					if e.Expired || e.Owner != "o" || e.Reason != "r" || e.Expires != "2026-12-31" {
						t.Errorf("%+v", e)
					}
				}
			}

			if used != 1 {
				t.Errorf("the decision shows %d exceptions", used)
			}

			ev.Time = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
			ev.Uploaded, ev.Platforms[0].Scan.Finished = &ev.Time, &ev.Time
			if v := p.Judge(ev); v.Outcome() != attestor.Deny {
				t.Errorf("%s once it has expired", v.Outcome())
			}
		})
	}
}

// A date ends at its end, UTC; expired is absent, and is said.
func TestExceptionExpiry(t *testing.T) {
	p := with(t, fmt.Sprintf(waived, "USER_ROOT", "", "2026-12-31"), "  scope: {trustedDirectories: [\"registry.example/**\"]}", "    scan: {maxAge: 0}")
	for _, tt := range []struct {
		at   time.Time
		want attestor.Outcome
		code attestor.Code
	}{
		{time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), attestor.Pass, ""},
		{time.Date(2026, 12, 17, 23, 59, 59, 0, time.UTC), attestor.Pass, ""},
		{time.Date(2026, 12, 18, 0, 0, 0, 0, time.UTC), attestor.Pass, attestor.CodeExceptionExpiring}, // 14 days, to the moment
		{time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC), attestor.Pass, attestor.CodeExceptionExpiring},
		{time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC), attestor.Pass, attestor.CodeExceptionExpiring},
		{time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), attestor.Deny, attestor.CodeExceptionExpired},
		{time.Date(2026, 12, 31, 20, 0, 0, 0, time.FixedZone("", -5*3600)), attestor.Deny, attestor.CodeExceptionExpired},
	} {
		ev := passing(p, rootUser)
		ev.Time = tt.at
		v := p.Judge(ev)
		if v.Outcome() != tt.want {
			t.Errorf("%s: %s, want %s", tt.at, v.Outcome(), tt.want)
		}

		var got attestor.Code
		for _, c := range v.Checks() {
			if c.Name == attestor.CheckPolicy {
				got = c.Reasons[0].Code
			}
		}

		if got != tt.code {
			t.Errorf("%s: %q, want %q", tt.at, got, tt.code)
		}
		if tt.want == attestor.Deny {
			if e := check(t, v, attestor.CheckUser).Exceptions; len(e) != 1 || !e[0].Expired || e[0].ID != "W-1" {
				t.Errorf("%s: the expired exception is not shown: %+v", tt.at, e)
			}
		}
	}
}

func TestExceptionScope(t *testing.T) {
	for _, tt := range []struct {
		name, scope string
		want        attestor.Outcome
	}{
		{"this image", `images: ["registry.example/acme/prod/api"],`, attestor.Pass},
		{"another image", `images: ["registry.example/acme/prod/web"],`, attestor.Deny},
		{"an image that begins alike", `images: ["registry.example/acme/prod/ap"],`, attestor.Deny},
		{"this platform", `platforms: [linux/amd64],`, attestor.Pass},
		{"another platform", `platforms: [linux/arm64],`, attestor.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, fmt.Sprintf(waived, "USER_ROOT", tt.scope, "2026-12-31"))
			if v := p.Judge(passing(p, rootUser)); v.Outcome() != tt.want {
				t.Errorf("%s, want %s", v.Outcome(), tt.want)
			}
		})
	}

	t.Run("another package", func(t *testing.T) {
		p := with(t, `    allowedCves: [{id: CVE-1-1, packages: [zlib], owner: o, reason: r, expires: 2026-12-31}]`)
		v := p.Judge(passing(p, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }))))
		if v.Outcome() != attestor.Deny {
			t.Error(v.Outcome())
		}
	})

	t.Run("another check", func(t *testing.T) {
		p := with(t, `  exceptions: [{check: base, subject: "*", owner: o, reason: r, expires: 2026-12-31}]`)
		if v := p.Judge(passing(p, rootUser)); v.Outcome() != attestor.Deny {
			t.Error(v.Outcome())
		}
	})

	t.Run("in letters of another case", func(t *testing.T) {
		p := with(t, fmt.Sprintf(waived, "user_root", "", "2026-12-31"))
		if v := p.Judge(passing(p, rootUser)); v.Outcome() != attestor.Deny {
			t.Error(v.Outcome())
		}
	})
}

// What could not be found out is not for an exception to overlook, nor what is
// blocked by name.
func TestExceptionsExcuseNoErrors(t *testing.T) {
	everything := `  exceptions: [{check: vulnerabilities, subject: "*", owner: o, reason: r, ` +
		`expires: 2026-12-31}, {check: user, subject: "*", owner: o, reason: r, expires: 2026-12-31}]`
	p := with(t, everything)

	for name, change := range map[string]func(*attestor.Evidence){
		"unread user": on(func(e *attestor.PlatformEvidence) { e.User = attestor.User{} }),
		"no scan":     on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanNotFound} }),
		"outage":      on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanUnavailable} }),
		"zero scan":   on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{} }),
	} {
		if v := p.Judge(passing(p, change)); v.Outcome() != attestor.Undecided {
			t.Errorf("%s: %s", name, v.Outcome())
		}
	}

	if v := p.Judge(passing(p, findings(vulnerability("CVE-2021-44228")))); v.Outcome() != attestor.Deny {
		t.Errorf("a blocked CVE: %s", v.Outcome())
	}

	broken := func(ev *attestor.Evidence) {
		ev.Problems = []attestor.Problem{{Check: attestor.CheckPlatforms, Status: attestor.StatusDeny,
			Reason: attestor.Reason{Code: attestor.CodeManifestInvalid, Subject: "x"}}}
	}

	if v := p.Judge(passing(p, broken)); v.Outcome() != attestor.Deny {
		t.Errorf("a malformed manifest: %s", v.Outcome())
	}
}

func TestExceptionStale(t *testing.T) {
	line := `  exceptions: [{id: W-1, check: user, subject: USER_ROOT, images: ["registry.example/acme/prod/api"], owner: o, reason: r, expires: 2026-12-31}]`
	stale := func(v attestor.Verdict) bool {
		for _, c := range said(v) {
			if c == attestor.CodeExceptionStale {
				return true
			}
		}
		return false
	}

	p := with(t, line)
	if v := p.Judge(passing(p)); !stale(v) || v.Outcome() != attestor.Pass {
		t.Errorf("%s: one that matched nothing is not said to be stale: %+v", v.Outcome(), v.Checks())
	}
	if stale(p.Judge(passing(p, rootUser))) {
		t.Error("one that was used is said to be stale")
	}
	if stale(p.Judge(passing(p, func(ev *attestor.Evidence) { ev.Image = parseImage(t, "registry.example/acme/prod/web") }))) {
		t.Error("one of another image is said to be stale")
	}
	if stale(p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.User = attestor.User{} })))) {
		t.Error("one whose check erred is said to be stale")
	}

	// Whoever may remove it is told so: of one for this repository alone, and of no other.
	for images, want := range map[string]string{
		`"registry.example/acme/prod/api"`: "remove spec.exceptions[0]", `"registry.example/acme/prod/*"`: "",
		`"registry.example/acme/prod/api", "registry.example/acme/prod/web"`: "",
	} {
		p := with(t, strings.Replace(line, `"registry.example/acme/prod/api"`, images, 1))
		if r := check(t, p.Judge(passing(p)), attestor.CheckPolicy).Reasons; len(r) != 1 || r[0].Code != attestor.CodeExceptionStale || r[0].Fix != want {
			t.Errorf("of %s: %+v, want the fix %q", images, r, want)
		}
	}

	// What counts as absent is not stale beside that: nobody could have used it.
	lapsed := with(t, strings.Replace(line, "2026-12-31", "2026-10-31", 1))
	if stale(lapsed.Judge(passing(lapsed))) {
		t.Error("one that has ended is said to be stale")
	}

	off := with(t, line, "  user: {nonRoot: false}")
	if stale(off.Judge(passing(off))) {
		t.Error("one whose check was skipped is said to be stale")
	}
}

func TestExceptionMaxLifetime(t *testing.T) {
	p := with(t, "  exceptionMaxLifetime: 30d", fmt.Sprintf(waived, "USER_ROOT", "", "2026-12-21"))
	v := p.Judge(passing(p, rootUser))
	if v.Outcome() != attestor.Deny {
		t.Errorf("%s: it ends in 31 days, and 30 are allowed", v.Outcome())
	}
	if c := check(t, v, attestor.CheckPolicy); c.Reasons[0].Code != attestor.CodeExceptionTooLong {
		t.Errorf("%+v", c)
	}

	ev := passing(p, rootUser)
	ev.Time = ev.Time.Add(24 * time.Hour)
	if v := p.Judge(ev); v.Outcome() != attestor.Pass {
		t.Errorf("%s: it ends in 30 days", v.Outcome())
	}
}

// Of several that fit, one that has lapsed does not stand in the way.
func TestExceptionsSeveral(t *testing.T) {
	p := with(t, `  exceptions: [{id: OLD, check: user, subject: USER_ROOT, owner: o, reason: r, `+
		`expires: 2026-01-31}, {id: NEW, check: user, subject: "*", owner: o, reason: r, expires: 2026-12-31}]`)
	v := p.Judge(passing(p, rootUser))
	want := []attestor.AppliedException{{ID: "NEW", Owner: "o", Reason: "r", Expires: "2026-12-31", Subject: "0"}}
	if diff := cmp.Diff(want, check(t, v, attestor.CheckUser).Exceptions); diff != "" || v.Outcome() != attestor.Pass {
		t.Errorf("%s: %s", v.Outcome(), diff)
	}
}

// Of several that count, the one that ends last is used, wherever it stands, and the others are neither shown nor
// warned of.
func TestTheExceptionThatEndsLastIsUsed(t *testing.T) {
	const soon = `{id: SOON, check: user, subject: USER_ROOT, owner: o, reason: r, expires: 2026-11-25}`
	const late = `{id: LATE, check: user, subject: "*", owner: o, reason: r, expires: 2027-06-30}`
	for _, list := range []string{soon + ", " + late, late + ", " + soon} {
		p := with(t, "  exceptions: ["+list+"]")
		v := p.Judge(passing(p, rootUser))
		want := []attestor.AppliedException{{ID: "LATE", Owner: "o", Reason: "r", Expires: "2027-06-30", Subject: "0"}}
		if diff := cmp.Diff(want, check(t, v, attestor.CheckUser).Exceptions); diff != "" || v.Outcome() != attestor.Pass {
			t.Errorf("%s: %s: %s", list, v.Outcome(), diff)
		}
		if slices.Contains(said(v), attestor.CodeExceptionExpiring) {
			t.Errorf("%s: one that was not needed is warned of", list)
		}
	}
}

// An exception that covers the same finding in two places is shown once, and so is the remark on one that has ended.
func TestAnExceptionIsShownOnce(t *testing.T) {
	critical := func(path string) attestor.Vulnerability {
		return vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity, v.Path = attestor.Critical, path })
	}
	for expires, want := range map[string]attestor.Outcome{"2026-12-31": attestor.Pass, "2026-10-31": attestor.Deny} {
		p := with(t, "  exceptions: [{check: vulnerabilities, subject: CVE-1-1, owner: o, reason: r, expires: "+expires+"}]")
		v := p.Judge(passing(p, findings(critical("/usr/lib/a"), critical("/usr/lib/b"))))
		if e := check(t, v, attestor.CheckVulnerabilities).Exceptions; len(e) != 1 || v.Outcome() != want {
			t.Errorf("until %s: %s, shown %+v", expires, v.Outcome(), e)
		}
		if want == attestor.Deny {
			if r := check(t, v, attestor.CheckPolicy).Reasons; len(r) != 1 || r[0].Code != attestor.CodeExceptionExpired {
				t.Errorf("until %s: remarks %+v", expires, r)
			}
		}
	}
}

// A check that only warns refuses nothing it finds, and still does not pass
// what it cannot find out.
func TestChecksThatWarn(t *testing.T) {
	p := with(t, "  checks: {user: warn, vulnerabilities: warn}")
	v := p.Judge(passing(p, rootUser, findings(vulnerability("CVE-2021-44228"))))
	if v.Outcome() != attestor.Pass || check(t, v, attestor.CheckUser).Status != attestor.StatusWarn ||
		check(t, v, attestor.CheckVulnerabilities).Status != attestor.StatusWarn {
		t.Errorf("%s: %+v", v.Outcome(), v.Checks())
	}

	for name, change := range map[string]func(*attestor.PlatformEvidence){
		"user": func(e *attestor.PlatformEvidence) { e.User = attestor.User{} },
		"scan": func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanUnavailable} },
	} {
		if v := p.Judge(passing(p, on(change))); v.Outcome() != attestor.Undecided {
			t.Errorf("%s: %s", name, v.Outcome())
		}
	}

	all := one(t, strings.ReplaceAll(edited(t, "  checks: {user: warn, vulnerabilities: warn, base: warn, "+
		"provenance: warn, scope: warn}"), "    required: true", "    required: true"))
	bad := passing(all, rootUser, findings(vulnerability("CVE-2021-44228")),
		on(func(e *attestor.PlatformEvidence) { e.Base, e.Provenance = attestor.Base{}, nil }),
		func(ev *attestor.Evidence) { ev.Uploaded = new(today().AddDate(-1, 0, 0)) })

	if v := all.Judge(bad); v.Outcome() != attestor.Pass || len(refusals(v)) != 0 {
		t.Errorf("%s because of %v: every check was made, and none refuses", v.Outcome(), refusals(v))
	}
}

// An author who names the image's user like a reason gains nothing from an
// exception for that reason.
func TestExceptionForAReasonIsNotForAUserOfThatName(t *testing.T) {
	named := on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{Configured: "GROUP_ROOT", UID: new(int64(5)), GID: new(int64), Source: attestor.UserFromPasswd}
	})

	p := with(t, "  user: {nonRoot: true, names: resolve, minimumUID: 1000, rootGroup: deny}",
		`  exceptions: [{check: user, subject: GROUP_ROOT, owner: o, reason: r, expires: 2026-12-31}]`)

	v := p.Judge(passing(p, named))
	if v.Outcome() != attestor.Deny || !slices.Equal(refusals(v), []attestor.Code{attestor.CodeUserTooLow}) {
		t.Errorf("%s: %v", v.Outcome(), refusals(v))
	}
}

// What says nothing against the image is not excused: an exception accepts refusals, and does not silence what the gate
// does not know.
func TestAnExceptionSilencesNoRemark(t *testing.T) {
	const exception = "{check: vulnerabilities, subject: '%s', owner: o, reason: r, expires: 2026-12-31}"
	p := with(t, "  exceptions: ["+fmt.Sprintf(exception, "*")+", "+fmt.Sprintf(exception, "DSSE_ATTESTATION")+"]")
	ev := passing(p, on(func(e *attestor.PlatformEvidence) {
		e.Scan.Unread = []attestor.UnreadKind{{Kind: "DSSE_ATTESTATION", Count: 2}}
	}))
	c := check(t, p.Judge(ev), attestor.CheckVulnerabilities)
	told := slices.ContainsFunc(c.Reasons, func(r attestor.Reason) bool {
		return r.Code == attestor.CodeKindNotJudged && r.Subject == "DSSE_ATTESTATION"
	})
	if !told || len(c.Exceptions) != 0 {
		t.Errorf("%+v", c)
	}
}

// An exception for one platform is judged by that platform's answer: without the platform nothing is said of it, and what
// another platform has no answer for does not count.
func TestAStaleExceptionIsOfItsPlatform(t *testing.T) {
	p := with(t, "  exceptions: [{check: user, subject: USER_ROOT, platforms: [linux/arm64], owner: o, reason: r, expires: 2026-12-31}]")
	noAnswer := func(e *attestor.PlatformEvidence) { e.User = attestor.User{Configured: "app"} }
	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		stale  bool
	}{
		"its platform has an answer":          {index(), true},
		"the image has another platform only": {func(*attestor.Evidence) {}, false},
		"another platform has no answer":      {index(func(first, _ *attestor.PlatformEvidence) { noAnswer(first) }), true},
		"its platform has no answer":          {index(func(_, second *attestor.PlatformEvidence) { noAnswer(second) }), false},
	} {
		got := false
		for _, c := range p.Judge(passing(p, tt.change)).Checks() {
			for _, r := range c.Reasons {
				got = got || r.Code == attestor.CodeExceptionStale
			}
		}
		if got != tt.stale {
			t.Errorf("%s: said to match nothing: %t, want %t", name, got, tt.stale)
		}
	}
}
