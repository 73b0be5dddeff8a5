package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// Lint says of each source of VEX documents whose signature would do.
func TestLintOfSourcesOfVEX(t *testing.T) {
	text := edited(t, `    vex: {accept: [fixed], sources: [`+ours+
		`, {name: any, signedBy: {keyless: {issuer: i, subjectRegexp: ".*"}}}]}`)
	const path = "spec.vulnerabilities.vex.sources"
	if got := lintAt(t, text, path+"[1].signedBy.keyless.subjectRegexp"); !slices.Equal(got, []string{"matches anybody"}) {
		t.Errorf("of anybody: %q", got)
	}
	if got := lintAt(t, text, path+"[0].signedBy.keyless.subjectRegexp"); len(got) > 0 {
		t.Errorf("of one key: %q", got)
	}
}

// Documents that the policy names no source of are not waited for: a project's statement excuses all the same, and the
// finding that nobody excuses stays a denial.
func TestUnreadVEXDocumentsThatNobodyAskedFor(t *testing.T) {
	unread := on(func(e *attestor.PlatformEvidence) {
		e.Problems = append(e.Problems,
			problem(attestor.CheckVulnerabilities, attestor.StatusError, attestor.CodeVEXUnavailable))
	})
	excused := findings(func() attestor.Vulnerability {
		v := critical()
		v.VEX = []attestor.VEX{{Project: "acme-security", Status: "fixed", Note: "n"}}
		return v
	}())

	p := with(t)
	c := check(t, p.Judge(passing(p, unread, excused)), attestor.CheckVulnerabilities)
	if len(c.Exceptions) != 1 || c.Exceptions[0].Owner != "acme-security" {
		t.Errorf("of a project: exceptions %+v, reasons %+v", c.Exceptions, c.Reasons)
	}

	p = vexPolicy(t, "")
	c = check(t, p.Judge(passing(p, unread, excused)), attestor.CheckVulnerabilities)
	if len(c.Exceptions) != 0 || c.Status != attestor.StatusError {
		t.Errorf("beside sources: %s, exceptions %+v", c.Status, c.Exceptions)
	}
}

// What is not judged is named in the order of its types, whatever the order of the findings.
func TestTypesThatAreNotJudgedAreSorted(t *testing.T) {
	types := strings.Fields("CARGO COMPOSER GO MAVEN NPM NUGET PYPI RUBYGEMS RUST SWIFT")
	var list []attestor.Vulnerability
	for _, kind := range slices.Backward(types) {
		list = append(list, vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) { v.PackageType = kind }))
	}

	p := with(t, "    scan: {packageTypes: [OS]}")
	var got []string
	for _, r := range check(t, p.Judge(passing(p, findings(list...))), attestor.CheckVulnerabilities).Reasons {
		if r.Code == attestor.CodeFindingsNotJudged {
			got = append(got, r.Subject)
		}
	}
	if !slices.Equal(got, types) {
		t.Errorf("%q, want %q", got, types)
	}
}
