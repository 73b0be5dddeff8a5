package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// lax is a policy that lets every vulnerability pass, with the lines given in addition.
func lax(t testing.TB, vulnerabilities, spec string) *policy.Policy {
	t.Helper()
	return one(t, `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: lax}
spec:
  mode: enforce
  images: ["registry.example/acme/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities:
    maximumFixableSeverity: ALLOW_ALL
    maximumUnfixableSeverity: ALLOW_ALL
    unspecifiedSeverity: allow
`+vulnerabilities+"  attestors: [projects/acme/attestors/gate]\n"+spec)
}

func malware(change ...func(*attestor.Vulnerability)) attestor.Vulnerability {
	return vulnerability("MAL-2025-47", append([]func(*attestor.Vulnerability){func(v *attestor.Vulnerability) {
		v.Package, v.PackageType, v.Version, v.Fixable, v.FixedVersion = "evil-loader", "NPM", "2.3.4", false, ""
		v.Severity, v.Malicious = attestor.Critical, true
	}}, change...)...)
}

// Nothing that lets a vulnerability pass lets malware pass, and only an exception that names it for what it is does.
func TestMaliciousPackage(t *testing.T) {
	const allowed = `    allowedCves: [{id: MAL-2025-47, packages: [evil-loader], owner: o, reason: r, expires: "2026-12-31"}]` + "\n"
	exception := func(subject, more string) string {
		return `  exceptions: [{check: vulnerabilities, subject: "` + subject + `", ` + more + ` owner: o, reason: r, expires: "2026-12-31"}]` + "\n"
	}

	vex := func(v *attestor.Vulnerability) {
		v.VEX = []attestor.VEX{{Status: "not_affected", Project: "acme-security", Note: "projects/acme-security/notes/n"}}
	}

	for _, tt := range []struct {
		name                  string
		vulnerabilities, spec string
		change                func(*attestor.Vulnerability)
		want                  attestor.Outcome
	}{
		{name: "no limit at all", want: attestor.Deny},
		{name: "of any severity", change: func(v *attestor.Vulnerability) { v.Severity = attestor.Minimal }, want: attestor.Deny},
		{name: "of no severity", change: func(v *attestor.Vulnerability) { v.Severity = "" }, want: attestor.Deny},
		{name: "with a fix", change: func(v *attestor.Vulnerability) { v.Fixable = true }, want: attestor.Deny},
		{name: "by its id alone, as in older records", change: func(v *attestor.Vulnerability) { v.Malicious = false }, want: attestor.Deny},
		{name: "by an id in other letters", change: func(v *attestor.Vulnerability) { v.ID, v.Malicious = "mal-2025-47", false }, want: attestor.Deny},
		{name: "by what the scanner says, under another id", change: func(v *attestor.Vulnerability) { v.ID = "GHSA-x-y-z" }, want: attestor.Deny},
		{name: "in its grace period", vulnerabilities: "    gracePeriod: {CRITICAL: 30d}\n", change: func(
			v *attestor.Vulnerability) {
			v.Published = new(today().Add(-time.Hour))
		}, want: attestor.Deny},
		{name: "not affected, by VEX", vulnerabilities: "    vex: {accept: [not_affected], projects: [acme-security]}\n", change: vex, want: attestor.Deny},
		{name: "of a type that is not judged", vulnerabilities: "    scan: {packageTypes: [OS]}\n", want: attestor.Deny},
		{name: "where no scan is required", vulnerabilities: "    scan: {required: false}\n", want: attestor.Deny},
		{name: "allowed as a CVE", vulnerabilities: allowed, want: attestor.Deny},
		{name: "excepted by its id", spec: exception("MAL-2025-47", "packages: [evil-loader],"), want: attestor.Deny},
		{name: "excepted with everything", spec: exception("*", ""), want: attestor.Deny},
		{name: "excepted with everything in the package", spec: exception("*", "packages: [evil-loader],"), want: attestor.Deny},
		{name: "excepted by the code alone", spec: exception("MALICIOUS_PACKAGE", ""), want: attestor.Deny},
		{name: "excepted by the code, for another package", spec: exception("MALICIOUS_PACKAGE", "packages: [loader],"), want: attestor.Deny},
		{name: "excepted by code and package", spec: exception("MALICIOUS_PACKAGE", "packages: [evil-loader],"), want: attestor.Pass},
		{name: "no malware", change: func(v *attestor.Vulnerability) { v.ID, v.Malicious = "CVE-2025-47", false }, want: attestor.Pass},
		{name: "an id that only begins like one", change: func(v *attestor.Vulnerability) { v.ID, v.Malicious = "MAL-WARE", false }, want: attestor.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var change []func(*attestor.Vulnerability)
			if tt.change != nil {
				change = append(change, tt.change)
			}

			p := lax(t, tt.vulnerabilities, tt.spec)
			v := p.Judge(passing(p, findings(malware(change...))))
			want := []attestor.Code{}
			if tt.want == attestor.Deny {
				want = append(want, attestor.CodeMaliciousPackage)
			}
			if diff := cmp.Diff(want, refusals(v)); diff != "" || v.Outcome() != tt.want {
				t.Errorf("%s, want %s (-want +got):\n%s", v.Outcome(), tt.want, diff)
			}
		})
	}
}

// An exception that has ended does not count, and malware comes before every vulnerability and says what to do.
func TestMaliciousPackageIsToldFirst(t *testing.T) {
	p := lax(t, "    blockedCves: [CVE-2021-44228]\n", `  exceptions: [{check: vulnerabilities, `+
		`subject: MALICIOUS_PACKAGE, packages: [evil-loader], owner: o, reason: r, expires: "2026-11-19"}]`+"\n")
	worse := vulnerability("CVE-2021-44228", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical })
	c := check(t, p.Judge(passing(p, findings(worse, malware(func(v *attestor.Vulnerability) { v.Severity = attestor.Low })))), attestor.CheckVulnerabilities)
	want := attestor.Reason{
		Code: attestor.CodeMaliciousPackage, Severity: attestor.Refuses, Subject: "MAL-2025-47", Message: "evil-loader 2.3.4 is a malicious package",
		Fix: "remove evil-loader, rotate every secret that it could read where it was installed, built or run, and rebuild the image",
	}

	if diff := cmp.Diff(want, c.Reasons[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	last := c.Reasons[len(c.Reasons)-1]
	if last.Code != attestor.CodeShortestWay || !strings.Contains(last.Message, "remove 1 malicious package (evil-loader)") {
		t.Errorf("the shortest way: %+v", last)
	}
}

// An exception names packages only where findings have them.
func TestExceptionPackages(t *testing.T) {
	text := edited(t, `  exceptions: [{check: user, subject: "*", packages: [a], owner: o, reason: r, expires: "2026-12-31"}]`)
	if _, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: []byte(text)}); err == nil ||
		!strings.Contains(err.Error(), "is about findings of the checks vulnerabilities, packages only") {
		t.Errorf("packages in an exception for users: %v", err)
	}
}

// Under a note of somebody else a list of types without the operating system's is no scan of all packages.
func TestPartialScan(t *testing.T) {
	const note = "projects/acme-security/notes/trivy"
	trusted := func(types string) string {
		return "    scan: {trusted: [" + note + "], continuous: optional" + types + "}\n"
	}

	for _, tt := range []struct {
		name, types, note string
		analyses          []string
		want              []attestor.Code
	}{
		{"languages only", "", note, []string{"MAVEN"}, []attestor.Code{attestor.CodeScanPackageTypeMissing}},
		{"the system's too", "", note, []string{"MAVEN", "OS"}, []attestor.Code{}},
		{"nothing is said", "", note, nil, []attestor.Code{}},
		{"languages only, and no others are asked for", ", packageTypes: [MAVEN]", note, []string{"MAVEN"}, []attestor.Code{}},
		{"languages only, and others are asked for", ", packageTypes: [GO, MAVEN]", note, []string{"MAVEN"},
			[]attestor.Code{attestor.CodeScanPackageTypeMissing}},
		{"by the gate's own scanner", "", attestor.Scan{}.By().Note, []string{"MAVEN"}, []attestor.Code{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := lax(t, trusted(tt.types), "")
			v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Scan.Note, e.Scan.Analyses = tt.note, tt.analyses })))
			if diff := cmp.Diff(tt.want, refusals(v)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The linter names exceptions that malware passes by.
func TestLintMaliciousPackage(t *testing.T) {
	lint := func(vulnerabilities, spec string) (out []string) {
		text := lax(t, vulnerabilities, spec).Text()
		set, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: text})
		if err != nil {
			t.Fatal(err)
		}

		for _, d := range set.Lint(today()) {
			if d.Message == "has no effect on a malicious package: name the code MALICIOUS_PACKAGE and the package in spec.exceptions" {
				out = append(out, d.Path)
			}
		}
		return out
	}

	const end = `owner: o, reason: r, expires: "2026-12-01"}]` + "\n"
	for _, tt := range []struct {
		name, vulnerabilities, spec string
		want                        []string
	}{
		{"an allowed id", "    allowedCves: [{id: MAL-2025-47, " + end, "", []string{"spec.vulnerabilities.allowedCves[0].id"}},
		{"another allowed id", "    allowedCves: [{id: CVE-2025-47, " + end, "", nil},
		{"the code without a package", "", "  exceptions: [{check: vulnerabilities, subject: MALICIOUS_PACKAGE, " + end,
			[]string{"spec.exceptions[0].subject"}},
		{"the id", "", "  exceptions: [{check: vulnerabilities, subject: MAL-2025-47, packages: [a], " + end, []string{"spec.exceptions[0].subject"}},
		{"code and package", "", "  exceptions: [{check: vulnerabilities, subject: MALICIOUS_PACKAGE, packages: [a], " + end, nil},
	} {
		if diff := cmp.Diff(tt.want, lint(tt.vulnerabilities, tt.spec)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
