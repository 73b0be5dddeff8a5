package policy_test

import (
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// severities lists "CODE severity" of a check's reasons, in order.
func severities(c attestor.Check) []string {
	out := []string{}
	for _, r := range c.Reasons {
		out = append(out, string(r.Code)+" "+string(r.Severity))
	}
	return out
}

// TestRemarksAreNoRefusals: each reason has the severity of its own finding, whatever else its check found. Every case
// is of one check, and the image is refused by it, or by nothing.
func TestRemarksAreNoRefusals(t *testing.T) {
	user := func(configured string, uid, gid int64) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: configured, UID: &uid, GID: &gid, Source: attestor.UserFromConfig}
		})
	}
	exploited := func(v *attestor.Vulnerability) { v.KnownExploited = new(true) }
	low := func(v *attestor.Vulnerability) { v.Severity = attestor.Low }
	critical := func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }
	notReported := func(v *attestor.Vulnerability) { v.KnownExploited = nil }
	unsupported := on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanUnsupported} })
	for _, tt := range []struct {
		name   string
		policy string // a line of spec
		change func(*attestor.Evidence)
		check  string
		want   []string
		pass   bool
	}{
		{"group 0 warns beside no user", "  user: {nonRoot: true}", user("", 0, 0), attestor.CheckUser,
			[]string{"USER_NOT_SET refuses", "GROUP_ROOT warns"}, false},
		{"group 0 refuses beside no user", "  user: {nonRoot: true, rootGroup: deny}", user("", 0, 0), attestor.CheckUser,
			[]string{"USER_NOT_SET refuses", "GROUP_ROOT refuses"}, false},
		{"group 0 refuses alone", "  user: {nonRoot: true, rootGroup: deny}", user("65532", 65532, 0), attestor.CheckUser,
			[]string{"GROUP_ROOT refuses"}, false},
		{"group 0 warns alone", "  user: {nonRoot: true}", user("65532", 65532, 0), attestor.CheckUser,
			[]string{"GROUP_ROOT warns"}, true},
		{"the whole check warns", "  checks: {user: warn}", user("", 0, 0), attestor.CheckUser,
			[]string{"USER_NOT_SET warns", "GROUP_ROOT warns"}, true},
		{"an exploited finding warns beside one above the limit", "    knownExploited: warn",
			findings(vulnerability("CVE-1-1", low, exploited), vulnerability("CVE-1-2", critical, notReported)), attestor.CheckVulnerabilities,
			[]string{"FIXABLE_SEVERITY_EXCEEDED refuses", "KNOWN_EXPLOITED warns", "NOT_REPORTED warns", "SHORTEST_WAY informs"}, false},
		{"an exploited finding refuses", "    knownExploited: deny", findings(vulnerability("CVE-1-1", low, exploited)), attestor.CheckVulnerabilities,
			[]string{"KNOWN_EXPLOITED refuses", "SHORTEST_WAY informs"}, false},
		{"a finding in its grace period", "    gracePeriod: {CRITICAL: 30d}",
			findings(vulnerability("CVE-1-1", critical, func(v *attestor.Vulnerability) { v.Published = new(today().AddDate(0, 0, -1)) })),
			attestor.CheckVulnerabilities, []string{"IN_GRACE_PERIOD warns"}, true},
		{"not reported", "    knownExploited: deny", findings(vulnerability("CVE-1-1", low, notReported)), attestor.CheckVulnerabilities,
			[]string{"NOT_REPORTED warns"}, true},
		{"an unsupported image warns", "    scan: {maxAge: 30d, onUnsupported: warn}", unsupported, attestor.CheckVulnerabilities,
			[]string{"SCAN_UNSUPPORTED warns"}, true},
		{"an unsupported image is refused", "    scan: {maxAge: 30d, onUnsupported: deny}", unsupported, attestor.CheckVulnerabilities,
			[]string{"SCAN_UNSUPPORTED refuses"}, false},
		{"an unsupported image is allowed", "    scan: {maxAge: 30d, onUnsupported: allow}", unsupported, attestor.CheckVulnerabilities,
			[]string{"SCAN_UNSUPPORTED informs"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.policy)
			v := p.Judge(passing(p, tt.change))
			if diff := cmp.Diff(tt.want, severities(check(t, v, tt.check))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if pass := v.Outcome() == attestor.Pass; pass != tt.pass || pass != (len(refusals(v)) == 0) {
				t.Errorf("%s because of %v", v.Outcome(), refusals(v))
			}
		})
	}
}

// TestWarningsSpeakForAnImage: where one check is asked for and it warns, the image passes, as the policy says; its
// twin, in which the same check was skipped, does not.
func TestWarningsSpeakForAnImage(t *testing.T) {
	only := func(user, scan, more string) string {
		return `{apiVersion: attestor/v1, kind: GatePolicy, metadata: {name: few}, spec: {mode: enforce, images: ["registry.example/**"],
  base: {required: false}, user: ` + user + `, vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH, scan: ` + scan + more + `},
  attestors: [projects/p/attestors/a]}}`
	}
	unsupported := on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanUnsupported} })
	noGroup := on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{Configured: "65532", UID: new(int64(65532)), GID: new(int64), Source: attestor.UserFromConfig}
		e.Scan = attestor.Scan{State: attestor.ScanNotFound}
	})
	low := vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity, v.KnownExploited = attestor.Low, nil })
	for _, tt := range []struct {
		name   string
		policy string
		change func(*attestor.Evidence)
		want   attestor.Outcome
	}{
		{"rootGroup: warn", only("{nonRoot: true}", "{required: false}", ""), noGroup, attestor.Pass},
		{"rootGroup: deny", only("{nonRoot: true, rootGroup: deny}", "{required: false}", ""), noGroup, attestor.Deny},
		{"onUnsupported: warn", only("{nonRoot: false}", "{onUnsupported: warn}", ""), unsupported, attestor.Pass},
		{"onUnsupported: allow", only("{nonRoot: false}", "{onUnsupported: allow}", ""), unsupported, attestor.Deny},
		{"not reported", only("{nonRoot: false}", "{}", ", knownExploited: deny"), findings(low), attestor.Pass},
		{"of a type that is not judged", only("{nonRoot: false}", "{packageTypes: [OS]}", ""), func(ev *attestor.Evidence) {
			other := low
			other.PackageType = "NPM"
			findings(other)(ev)
			ev.Platforms[0].Scan.Analyses = []string{"OS"}
		}, attestor.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := one(t, tt.policy)
			ev := p.Exemplary("registry.example/acme/api", today())
			tt.change(&ev)
			v := p.Judge(ev)
			for _, c := range v.Checks() {
				// That no secret is reported speaks for nothing.
				if c.Status == attestor.StatusPass && c.Name != attestor.CheckSecrets {
					t.Errorf("%s passed: the case shows nothing", c.Name)
				}
			}
			nothing := slices.Contains(refusals(v), attestor.CodeNothingChecked)
			if v.Outcome() != tt.want || nothing != (tt.name == "onUnsupported: allow") {
				t.Errorf("%s because of %v: %+v", v.Outcome(), refusals(v), v.Checks())
			}
		})
	}
}

// TestCasesGoBySeverity: a case lists under codes what refuses, and under warnings what warns, of one and the same
// check; a hint stands in neither.
func TestCasesGoBySeverity(t *testing.T) {
	report, err := runCases(t, `cases:
  - name: apart
    image: registry.example/acme/prod/api
    platform: {user: {configured: "", uid: 0, gid: 0}}
    want: {verdict: deny, codes: [USER_NOT_SET], warnings: [GROUP_ROOT]}
  - name: mixed
    image: registry.example/acme/prod/api
    platform: {user: {configured: "", uid: 0, gid: 0}}
    want: {verdict: deny, codes: [GROUP_ROOT, USER_NOT_SET]}
`)
	if err != nil {
		t.Fatal(err)
	}
	if r := report.Results; r[0].Problem != "" || r[1].Problem == "" {
		t.Errorf("%+v", r)
	}
}

// TestSimulationsGoBySeverity: what a simulation counts are refusals, before and after.
func TestSimulationsGoBySeverity(t *testing.T) {
	strictly := setOf(t, strict)
	p, ok := strictly.Govern("registry.example/acme/prod/api")
	if !ok {
		t.Fatal("no policy governs the image")
	}
	noUser := on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{UID: new(int64), GID: new(int64), Source: attestor.UserFromConfig}
		e.Scan.Findings = []attestor.Vulnerability{vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical })}
	})
	was := recorded(p.(*policy.Policy), "1", passing(p.(*policy.Policy)))
	bad := passing(p.(*policy.Policy), noUser)
	was.Evidence = bad

	report := simulate(t, strictly, was)
	if len(report.Flips) != 1 {
		t.Fatalf("%+v", report)
	}
	want := map[attestor.Code]int{attestor.CodeUserNotSet: 1, attestor.CodeFixableSeverityExceeded: 1}
	if diff := cmp.Diff(want, report.ByReason); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, r := range report.Flips[0].Reasons {
		if r.Severity != attestor.Refuses {
			t.Errorf("%+v is no refusal", r)
		}
	}
}
