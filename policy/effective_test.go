package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// march is the day from which tests refuse.
func march() time.Time { return time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC) }

const from = "effectiveFrom: {date: 2027-03-01, owner: platform-team}"

// at is evidence as if it had been gathered at t, everything in it as old as it was.
func at(ev attestor.Evidence, t time.Time) attestor.Evidence {
	shift := t.Sub(ev.Time)
	move := func(p **time.Time) {
		if *p != nil {
			*p = new((*p).Add(shift))
		}
	}
	ev.Time = t
	move(&ev.Uploaded)
	ev.Platforms = slices.Clone(ev.Platforms)
	for i := range ev.Platforms {
		move(&ev.Platforms[i].Scan.Finished)
		move(&ev.Platforms[i].Base.Superseded)
	}
	return ev
}

// dated are the codes that a verdict warns of with a date and an owner.
func dated(t *testing.T, v attestor.Verdict) []attestor.Code {
	t.Helper()
	out := []attestor.Code{}
	for _, c := range v.Checks() {
		for _, r := range c.Reasons {
			if (r.EffectiveFrom == "") != (r.Owner == "") {
				t.Errorf("%s has a date or an owner alone: %+v", r.Code, r)
			}
			if r.EffectiveFrom == "" {
				continue
			}
			if r.Severity != attestor.Warns || !strings.Contains(r.Message, r.EffectiveFrom) || !strings.Contains(r.Message, r.Owner) {
				t.Errorf("%s: %+v", r.Code, r)
			}
			out = append(out, r.Code)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A date lifts denials and nothing else.
func TestADateWaivesNoMoreThanItsDenials(t *testing.T) {
	whole := with(t, "  "+from)
	if v := whole.Judge(attestor.Evidence{}); v.Outcome() == attestor.Pass {
		t.Error("the zero evidence passes")
	}
	unclocked := passing(whole, on(func(e *attestor.PlatformEvidence) { e.User = attestor.User{UID: new(int64(0))} }))
	unclocked.Time = time.Time{}
	if v := whole.Judge(unclocked); v.Outcome() != attestor.Deny || !slices.Contains(refusals(v), attestor.CodeUserNotSet) {
		t.Errorf("evidence without a time: %s %v", v.Outcome(), refusals(v))
	}

	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		want   attestor.Outcome
		code   attestor.Code
	}{
		"a scan that has not finished": {on(func(e *attestor.PlatformEvidence) {
			e.Scan = attestor.Scan{State: attestor.ScanRunning}
		}), attestor.Undecided, attestor.CodeScanRunning},
		"a user that is not known": {on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: "app"}
		}), attestor.Undecided, attestor.CodeUserLookupFailed},
		"an upload without a time": {func(ev *attestor.Evidence) { ev.Uploaded = nil }, attestor.Undecided, attestor.CodeUploadTimeUnknown},
		"malware":                  {findings(vulnerability("MAL-2026-1")), attestor.Deny, attestor.CodeMaliciousPackage},
		"a malformed image": {func(ev *attestor.Evidence) {
			ev.Problems = []attestor.Problem{{Check: attestor.CheckPlatforms, Status: attestor.StatusDeny,
				Reason: attestor.Reason{Code: attestor.CodeForeignLayer, Message: "m"}}}
		}, attestor.Deny, attestor.CodeForeignLayer},
		"other manifests": {func(ev *attestor.Evidence) { ev.Platforms = append(ev.Platforms, ev.Platforms[0]) },
			attestor.Undecided, attestor.CodeEvidenceMissing},
		"no platforms": {func(ev *attestor.Evidence) { ev.Platforms = nil }, attestor.Deny, attestor.CodeCheckMissing},
	} {
		t.Run(name, func(t *testing.T) {
			v := whole.Judge(passing(whole, tt.change))
			if v.Outcome() != tt.want || !slices.Contains(refusals(v), tt.code) {
				t.Errorf("%s %v, want %s %s", v.Outcome(), refusals(v), tt.want, tt.code)
			}
		})
	}

	t.Run("malware that is blocked by its name", func(t *testing.T) {
		p := with(t, "  "+from, "    blockedCves: [MAL-2026-1]")
		judged(t, p, passing(p, findings(vulnerability("MAL-2026-1"))), attestor.Deny, attestor.CodeCVEBlocked)
	})

	t.Run("a limit's date is no other limit's", func(t *testing.T) {
		for name, tt := range datedParts() {
			if name == "spec" {
				continue
			}
			p := with(t, tt.lines...)
			v := p.Judge(passing(p, tt.change, findings(vulnerability("CVE-2099-1", func(v *attestor.Vulnerability) {
				v.Severity, v.Fixable = attestor.Critical, name == "spec.vulnerabilities.maximumUnfixableSeverity"
			}))))
			if v.Outcome() != attestor.Deny {
				t.Errorf("%s: a CRITICAL finding more is %s", name, v.Outcome())
			}
		}
	})
}

// The value that counts until a date goes on refusing.
func TestUntil(t *testing.T) {
	p := with(t, "    maximumFixableSeverity: {value: MEDIUM, until: HIGH, "+from+"}", "    gracePeriod: {LOW: 1d}")
	for severity, want := range map[attestor.Severity][2]attestor.Outcome{
		attestor.Critical: {attestor.Deny, attestor.Deny}, attestor.High: {attestor.Pass, attestor.Deny},
		attestor.Medium: {attestor.Pass, attestor.Pass}, attestor.Unspecified: {attestor.Deny, attestor.Deny},
	} {
		ev := passing(p, findings(vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) { v.Severity = severity })))
		if got := [2]attestor.Outcome{p.Judge(at(ev, today())).Outcome(), p.Judge(at(ev, march())).Outcome()}; got != want {
			t.Errorf("%s: %v, want %v", severity, got, want)
		}
	}

	// Both kinds at once: what is refused now says so, what will be is a warning beside it.
	ev := passing(p, findings(
		vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }),
		vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) { v.Severity, v.Version = attestor.High, "3.0.12" }),
	))
	var got []attestor.ReasonSeverity
	for _, r := range check(t, p.Judge(ev), attestor.CheckVulnerabilities).Reasons {
		if r.Code == attestor.CodeFixableSeverityExceeded {
			got = append(got, r.Severity)
		}
	}
	if diff := cmp.Diff([]attestor.ReasonSeverity{attestor.Refuses, attestor.Warns}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// A limit that is to be loosened refuses as it stands until its date.
	for line, ev := range map[string]func(*attestor.Evidence){
		"  user: {nonRoot: {value: false, until: true, " + from + "}}": on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{UID: new(int64(0)), GID: new(int64(1)), Source: "config"}
		}),
		"    blockedCves: {value: [CVE-1-1], until: [CVE-2-2], " + from + "}": findings(vulnerability("CVE-2-2")),
		"    maximumEPSS: {value: 0.9, until: 0.1, " + from + "}": findings(vulnerability("CVE-2-2",
			func(v *attestor.Vulnerability) { v.EPSS = new(0.5) })),
		"    required: {value: false, until: true, " + from + "}": on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} }),
	} {
		p := with(t, line)
		bad := passing(with(t), ev)
		if before, after := p.Judge(at(bad, today())).Outcome(), p.Judge(at(bad, march())).Outcome(); before != attestor.Deny || after != attestor.Pass {
			t.Errorf("%s: %s, then %s", line, before, after)
		}
	}
}

// Of several dates each reason names its own, in whatever order they were written.
func TestSeveralDates(t *testing.T) {
	p := with(t, "  user: {nonRoot: {value: true, effectiveFrom: {date: 2027-05-01, owner: runtime}}}",
		"    maximumFixableSeverity: {value: LOW, until: MEDIUM, effectiveFrom: {date: 2027-03-01, owner: security}}",
		"  effectiveFrom: {date: 2027-01-01, owner: platform}")
	bad := passing(p, on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{UID: new(int64(0)), GID: new(int64(1)), Source: "config"}
	}),
		findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Medium }),
			vulnerability("CVE-2-2", func(v *attestor.Vulnerability) { v.Severity = attestor.High })))
	for day, want := range map[string]map[string]string{
		"2026-12-31": {"USER_NOT_SET": "2027-05-01 runtime", "CVE-1-1": "2027-03-01 security", "CVE-2-2": "2027-01-01 platform"},
		"2027-01-01": {"USER_NOT_SET": "2027-05-01 runtime", "CVE-1-1": "2027-03-01 security", "CVE-2-2": "refuses"},
		"2027-03-01": {"USER_NOT_SET": "2027-05-01 runtime", "CVE-1-1": "refuses", "CVE-2-2": "refuses"},
		"2027-05-01": {"USER_NOT_SET": "refuses", "CVE-1-1": "refuses", "CVE-2-2": "refuses"},
	} {
		moment, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, c := range p.Judge(at(bad, moment)).Checks() {
			for _, r := range c.Reasons {
				name := r.Subject
				if name == "" {
					name = string(r.Code)
				}
				switch {
				case r.EffectiveFrom != "":
					got[name] = r.EffectiveFrom + " " + r.Owner
				case r.Severity == attestor.Refuses:
					got[name] = "refuses"
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", day, diff)
		}
	}
}

// Until a date, an image is decided as by the policy in which the date's part is written as it stands until then.
func TestADatedPolicyDecidesAsTheOneBeforeIt(t *testing.T) {
	limits := []struct{ dated, before string }{
		{"    maximumFixableSeverity: {value: MINIMAL, until: HIGH, %s}", "    maximumFixableSeverity: HIGH"},
		{"    maximumUnfixableSeverity: {value: BLOCK_ALL, until: MEDIUM, %s}", "    maximumUnfixableSeverity: MEDIUM"},
		{"    maximumEPSS: {value: 0.1, until: 0.7, %s}", "    maximumEPSS: 0.7"},
		{"  user: {nonRoot: true, minimumUID: {value: 1000, until: 10, %s}}", "  user: {nonRoot: true, minimumUID: 10}"},
		{"    unspecifiedSeverity: {value: deny, until: allow, %s}", "    unspecifiedSeverity: allow"},
	}
	var datedLines, beforeLines []string
	for i, l := range limits {
		datedLines = append(datedLines, fmt.Sprintf(l.dated, fmt.Sprintf("effectiveFrom: {date: 2027-03-0%d, owner: o}", i+1)))
		beforeLines = append(beforeLines, l.before)
	}
	p, before := with(t, datedLines...), with(t, beforeLines...)
	for i, severity := range append(attestor.Severities(), "IMPORTANT") {
		for j, epss := range []float64{0, 0.4, 0.8} {
			for _, fixable := range []bool{true, false} {
				for _, uid := range []int64{0, 5, 50, 5000} {
					ev := passing(before, findings(vulnerability(fmt.Sprintf("CVE-%d-%d", i, j), func(v *attestor.Vulnerability) {
						v.Severity, v.EPSS, v.Fixable = severity, new(epss), fixable
					})), on(func(e *attestor.PlatformEvidence) { e.User.UID, e.User.Configured = new(uid), fmt.Sprintf("%d:7", uid) }))
					got, want := p.Judge(ev), before.Judge(ev)
					if got.Outcome() != want.Outcome() || !cmp.Equal(refusals(got), refusals(want)) {
						t.Fatalf("%s, EPSS %v, fixable %v, uid %d: %s %v, want %s %v", severity, epss, fixable, uid,
							got.Outcome(), refusals(got), want.Outcome(), refusals(want))
					}
				}
			}
		}
	}
}

// Exceptions and modes count before dates: nothing is warned of that somebody has accepted.
func TestDatesBesideExceptionsAndModes(t *testing.T) {
	root := on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{UID: new(int64(0)), GID: new(int64(1)), Source: "config"}
	})
	user := "  user: {nonRoot: {value: true, " + from + "}}"
	p := with(t, user, "  exceptions: [{check: user, subject: USER_NOT_SET, owner: o, reason: r, expires: 2026-12-31}]")
	c := check(t, p.Judge(passing(p, root)), attestor.CheckUser)
	if c.Status != attestor.StatusPass || len(c.Exceptions) != 1 || len(c.Reasons) != 0 {
		t.Errorf("excepted: %+v", c)
	}
	if v := p.Judge(at(passing(p, root), march())); v.Outcome() != attestor.Deny {
		t.Errorf("after the exception's end and the date: %s", v.Outcome())
	}

	p = with(t, user, "  checks: {user: warn}")
	for _, moment := range []time.Time{today(), march()} {
		if v := p.Judge(at(passing(p, root), moment)); v.Outcome() != attestor.Pass {
			t.Errorf("a check that warns: %s", v.Outcome())
		}
	}
}

// What is wrong with a date is an error at load, at its place.
func TestDatesAreStrict(t *testing.T) {
	for line, want := range map[string]string{
		"  effectiveFrom: " +
			"2027-03-01": `spec.effectiveFrom: ` +
			`want a day with its owner`,
		"  effectiveFrom: {date: " +
			"2027-03-01}": "spec.effectiveFrom: " +
			"owner is missing",
		"  effectiveFrom: {date: 2027-03-01, " +
			"owner: ''}": "spec.effectiveFrom.owner: is empty",
		"  effectiveFrom: {date: 2027-03-01, " +
			"owner: ' '}": "spec.effectiveFrom.owner: is empty",
		"  effectiveFrom: " +
			"{owner: o}": "spec.effectiveFrom: " +
			"date is missing",
		"  effectiveFrom: {date: 2027-02-30, " +
			"owner: o}": `spec.effectiveFrom.date: ` +
			`"2027-02-30" is not a date`,
		"  effectiveFrom: {date: 1 March 2027, owner: o}":         "is not a date",
		"  effectiveFrom: {date: 2027-03-01T00:00:00Z, owner: o}": "is not a date",
		"  effectiveFrom: {date: 30d, owner: o}":                  "is not a date",
		"  effectiveFrom: {date: 2027-03-01, owner: o, until: x}": `unknown field "until"`,
		"  effectiveFrom: ": "is empty",
		"    maximumFixableSeverity: " +
			"{value: LOW}": "spec.vulnerabilities.maximumFixableSeverity: " +
			"effectiveFrom is missing",
		"    maximumFixableSeverity: {" + from +
			"}": "spec.vulnerabilities.maximumFixableSeverity: " +
			"value is missing",
		"    maximumFixableSeverity: {value: LO, " + from +
			"}": `spec.vulnerabilities.maximumFixableSeverity.value: ` +
			`"LO" is not allowed`,
		"    maximumFixableSeverity: {value: LOW, until: X, " + from +
			"}": `spec.vulnerabilities.maximumFixableSeverity.until: ` +
			`"X" is not allowed`,
		"    maximumFixableSeverity: {value: LOW, unitl: X, " + from + "}": `unknown field "unitl"`,
		"    maximumFixableSeverity: {value: {value: LOW}, " + from +
			"}": "spec.vulnerabilities.maximumFixableSeverity.value",
		"    maximumEPSS: {value: 2, " + from +
			"}": "spec.vulnerabilities.maximumEPSS.value: " +
			"2 is not a probability",
		"    maximumEPSS: {value: 0.5, until: 2, " + from +
			"}": "spec.vulnerabilities.maximumEPSS.until: " +
			"2 is not a probability",
		"    blockedCves: {value: [CVE-1-1], until: [CVE-1-1, cve], " + from +
			"}": `spec.vulnerabilities.blockedCves.until: "cve" is malformed`,
		"    blockedCves: {value: [CVE-1-1, cve], " + from +
			"}": `spec.vulnerabilities.blockedCves.value[1]: ` +
			`"cve" is malformed`,
		"    blockedCves: {value: [CVE-1-1], until: [], " + from + "}": "",
		"    scan: {packageTypes: {value: [OS], until: [], " + from +
			"}}": "spec.vulnerabilities.scan.packageTypes.until: " +
			"the list is empty",
		"  user: {nonRoot: true, minimumUID: {value: 10, until: 0, " + from +
			"}}": "spec.user.minimumUID.until: 0 is not allowed",
		"      - {name: static, repository: registry.example/base/static, tags: [latest], " +
			"maxBehind: {value: 1d, " + from + "}}": "spec.base.approved[0].maxBehind.until: until is missing",
		"  exceptionWarning: {value: 1d, " + from +
			"}": "spec.exceptionWarning: " +
			"want a duration",
		"  mode: {value: enforce, " + from + "}": "spec.mode: want",
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, line))})
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		var all policy.Errors
		if !errors.As(err, &all) || !strings.Contains(err.Error(), want) || all[0].Line < 2 {
			t.Errorf("%s: %v\nwant %s", line, err, want)
		}
	}

	var rules []string
	for i := range 17 {
		rules = append(rules, fmt.Sprintf("{name: r%d, expression: 'subject.size > %d', message: m, %s}", i, i, from))
	}
	if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, "  rules: ["+strings.Join(rules[:16], ", ")+"]"))}); err != nil {
		t.Errorf("16 dates: %v", err)
	}
	text := edited(t, "  rules: ["+strings.Join(rules, ", ")+"]")
	if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)}); err == nil ||
		!strings.Contains(err.Error(), "17 dates in effectiveFrom, at most 16") {
		t.Errorf("17 dates: %v", err)
	}
}
