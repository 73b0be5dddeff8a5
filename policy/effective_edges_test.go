package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// What is wrong with a limit or a part that has a date is told once, and where it stands.
func TestAFaultBesideADateIsToldOnce(t *testing.T) {
	for line, want := range map[string]string{
		"    maximumFixableSeverity: {value: X, " + from + "}":                        "spec.vulnerabilities.maximumFixableSeverity.value",
		"    maximumFixableSeverity: {value: LOW, until: X, " + from + "}":            "spec.vulnerabilities.maximumFixableSeverity.until",
		"    maximumEPSS: {value: 0.5, until: [0.1], " + from + "}":                   "spec.vulnerabilities.maximumEPSS.until",
		"    maximumEPSS: {value: 2, " + from + "}":                                   "spec.vulnerabilities.maximumEPSS.value",
		"  user: {nonRoot: true, minimumUID: {value: 10, until: [10], " + from + "}}": "spec.user.minimumUID.until",
		"    scan: {packageTypes: {value: [OS], until: {a: b}, " + from + "}}":        "spec.vulnerabilities.scan.packageTypes.until",
		"      - {name: static, repository: r.example/a/b, " + from + "}":             "spec.base.approved[0]",
		"  user: {nonRoot: true, minimumUID: {value: 1, until: -1, " + from + "}}":    "spec.user.minimumUID.until",
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, line))})
		var all policy.Errors
		if !errors.As(err, &all) || len(all) != 1 || all[0].Path != want {
			t.Errorf("%s: %v, want one fault at %s", line, err, want)
		}
	}
}

// The rest of a section that has a limit with a date holds before the date.
func TestADateLeavesItsSection(t *testing.T) {
	p := with(t, `  provenance: {slsaLevel: {value: 3, until: 1, `+from+`}, builders: ["https://builder.example/1"]}`)
	foreign := passing(p, on(func(e *attestor.PlatformEvidence) { e.Provenance[0].Builder = "https://else.example" }))
	v := p.Judge(at(foreign, today()))
	if v.Outcome() != attestor.Deny || !slices.Contains(refusals(v), attestor.CodeProvenanceBuilder) {
		t.Errorf("a foreign builder before the date of another limit: %s %v", v.Outcome(), refusals(v))
	}
	if v := p.Judge(at(passing(p), today())); v.Outcome() != attestor.Pass {
		t.Errorf("the builder of the policy: %s %v", v.Outcome(), refusals(v))
	}
}

// What could not be found out is an error at whatever date: the date of the whole policy lifts denials only, also where
// a limit asks only until its own date.
func TestADateLiftsNoErrorOfALimit(t *testing.T) {
	scan := "    scan: {required: {value: false, until: true, " + from + "}}"
	pending := on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanPending} })
	for _, lines := range [][]string{{scan}, {scan, "  effectiveFrom: {date: 2027-06-01, owner: platform}"}} {
		p := with(t, lines...)
		v := p.Judge(at(passing(p, pending), today()))
		if v.Outcome() != attestor.Undecided || !slices.Contains(refusals(v), attestor.CodeScanPending) {
			t.Errorf("%v, before the dates: %s %v", lines, v.Outcome(), refusals(v))
		}
		if v := p.Judge(at(passing(p, pending), march())); v.Outcome() != attestor.Pass {
			t.Errorf("%v, where no scan is required any more: %s %v", lines, v.Outcome(), refusals(v))
		}
	}
}

// One fact is told once, even where it is a warning until the date and a refusal from then on.
func TestAWarningThatBecomesARefusalIsToldOnce(t *testing.T) {
	p := with(t, "  user: {nonRoot: true, rootGroup: {value: deny, until: warn, "+from+"}}")
	group := passing(p, on(func(e *attestor.PlatformEvidence) {
		e.User = attestor.User{Configured: "7:0", UID: new(int64(7)), GID: new(int64(0)), Source: "config"}
	}))
	c := check(t, p.Judge(at(group, today())), attestor.CheckUser)
	if len(c.Reasons) != 1 || c.Status != attestor.StatusWarn || c.Reasons[0].EffectiveFrom != "2027-03-01" {
		t.Errorf("before the date: %+v", c)
	}
	c = check(t, p.Judge(at(group, march())), attestor.CheckUser)
	if len(c.Reasons) != 1 || c.Status != attestor.StatusDeny || c.Reasons[0].EffectiveFrom != "" {
		t.Errorf("on the date: %+v", c)
	}
}

// A check that a policy does not ask for does not count as passed because something else has a date, or because the
// check warns until a date of its own.
func TestASkippedCheckStaysSkippedBesideADate(t *testing.T) {
	leaked := on(func(e *attestor.PlatformEvidence) {
		e.Scan.SecretsListed = true
		e.Scan.Secrets = []attestor.Secret{{Kind: "GCP_API_KEY", Path: "/a", Status: attestor.SecretValid}}
	})
	for _, lines := range [][]string{
		{"  secrets: {found: ignore}", "  user: {nonRoot: {value: true, " + from + "}}"},
		{"  secrets: {found: {value: ignore, until: warn, " + from + "}}"},
	} {
		p := with(t, lines...)
		if c := check(t, p.Judge(at(passing(p, leaked), today())), attestor.CheckSecrets); c.Status != attestor.StatusSkipped {
			t.Errorf("%v: %+v", lines, c)
		}
	}

	// Its twin refuses until the date.
	p := with(t, "  secrets: {found: {value: ignore, until: deny, "+from+"}}")
	if v := p.Judge(at(passing(p, leaked), today())); v.Outcome() != attestor.Deny || !slices.Contains(refusals(v), attestor.CodeSecretFound) {
		t.Errorf("denied until the date: %s %v", v.Outcome(), refusals(v))
	}
}

// Sentences name the part, and the whole value that counts until its date.
func TestDatesNameTheirPartAndValue(t *testing.T) {
	const whole = "the policy refuses from 2027-03-01 on (owner: platform-team); until then the policy only warns"
	const list = "vulnerabilities.blockedCves refuses from 2027-03-01 on (owner: platform-team); until then the value is [CVE-2-2, CVE-3-3]"
	for line, want := range map[string]string{
		"  " + from: whole,
		"    blockedCves: {value: [CVE-1-1], until: [CVE-2-2, CVE-3-3], " + from + "}": list,
	} {
		if diff := cmp.Diff([]string{want}, with(t, line).Dates(today())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// A policy whose whole has a date beside a limit is written out with both, and linted.
func TestTheWholeAndALimitHaveDates(t *testing.T) {
	lines := []string{"  " + from, "    maximumFixableSeverity: {value: LOW, until: HIGH, effectiveFrom: {date: 2027-04-01, owner: o}}"}
	text := canonical(t, with(t, lines...))
	if diff := cmp.Diff(text, canonical(t, one(t, text))); diff != "" {
		t.Errorf("(-first +second):\n%s", diff)
	}
	if diff := cmp.Diff(with(t, lines...).Dates(today()), one(t, text).Dates(today())); diff != "" {
		t.Errorf("dates (-first +second):\n%s", diff)
	}

	set, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, lines...))})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range set.Lint(today()) {
		if strings.Contains(d.String(), "effect") || strings.Contains(d.String(), "only warn") {
			t.Errorf("nothing is wrong with these dates: %s", d)
		}
	}
}
