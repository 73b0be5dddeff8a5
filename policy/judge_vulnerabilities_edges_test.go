package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// one finding, above the limit unless it is changed.
func high(change func(*attestor.Vulnerability)) attestor.Vulnerability {
	return vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) {
		v.Severity = attestor.High
		if change != nil {
			change(v)
		}
	})
}

// What a refused finding says, and the way out, by what is known of it.
func TestWhatIsSaidOfAFinding(t *testing.T) {
	inBase := func(v *attestor.Vulnerability) {
		v.DiffIDs = []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("b", 64))}
	}
	inOwn := func(v *attestor.Vulnerability) {
		v.DiffIDs = []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("d", 64))}
	}
	newest := attestor.Digest("sha256:" + strings.Repeat("9", 64))
	for name, tt := range map[string]struct {
		finding attestor.Vulnerability
		newest  attestor.Digest // of the base; "": what it is
		claimed bool            // the base is not proven as the policy asks
		msg     string
		fix     string
		way     string // the shortest
	}{
		"fixed": {high(nil), "", false, "HIGH in openssl 3.0.11, limit for fixable is MEDIUM", "update openssl to 3.0.15",
			"1 finding in all; the shortest way to a pass: update 1 package (openssl)"},
		"fixed nobody says where": {high(func(v *attestor.Vulnerability) { v.FixedVersion = "" }), "", false,
			"HIGH in openssl 3.0.11, limit for fixable is MEDIUM", "update openssl",
			"1 finding in all; the shortest way to a pass: update 1 package (openssl)"},
		"not fixed": {high(func(v *attestor.Vulnerability) { v.Severity, v.Fixable = attestor.Critical, false }), "",
			false, "CRITICAL in openssl 3.0.11, limit for unfixable is HIGH",
			"remove openssl, or add it to spec.vulnerabilities.allowedCves with owner, reason and expiry",
			"1 finding in all; the shortest way to a pass: remove or except 1 package without a fix (openssl)"},
		"without a name": {high(func(v *attestor.Vulnerability) {
			v.Severity, v.Fixable, v.Package = attestor.Critical,
				false, ""
		}), "", false, "CRITICAL in an unnamed package 3.0.11, limit for unfixable is HIGH",
			"remove the package, or add it to spec.vulnerabilities.allowedCves with owner, reason and expiry",
			"1 finding in all; the shortest way to a pass: remove or except 1 package without a fix (unnamed)"},
		"of a severity of tomorrow": {high(func(v *attestor.Vulnerability) { v.Severity = "CATASTROPHIC" }), "", false,
			"CATASTROPHIC in openssl 3.0.11; this version does not know the severity", "update openssl to 3.0.15",
			"1 finding in all; the shortest way to a pass: update 1 package (openssl)"},
		"in the image's own layers": {high(inOwn), "", false,
			"HIGH in openssl 3.0.11 (in your own layers), limit for fixable is MEDIUM", "update openssl to 3.0.15",
			"1 finding in all; the shortest way to a pass: update 1 package in your own layers (openssl)"},
		"in the base, which is the newest": {high(inBase), "", false,
			"HIGH in openssl 3.0.11 (from the base static), limit for fixable is MEDIUM",
			"wait for the next version of the base static, or update openssl to 3.0.15 in a layer of your own",
			"1 finding in all; the shortest way to a pass: 1 finding comes from the base: wait for the next version of the base static, or build on another"},
		"in the base, which has a newer one": {high(inBase), newest, false,
			"HIGH in openssl 3.0.11 (from the base static), limit for fixable is MEDIUM",
			"rebuild on the base's current version: FROM registry.example/base/static@" + string(newest),
			"1 finding in all; the shortest way to a pass: 1 finding comes from the base: rebuild on the base's " +
				"current version: FROM registry.example/base/static@" + string(newest)},
		"in what is claimed to be the base": {high(inBase), "", true, "HIGH in openssl 3.0.11, limit for fixable is MEDIUM", "update openssl to 3.0.15",
			"1 finding in all; the shortest way to a pass: update 1 package (openssl)"},
	} {
		t.Run(name, func(t *testing.T) {
			p := with(t)
			c := check(t, p.Judge(passing(p, findings(tt.finding), on(func(e *attestor.PlatformEvidence) {
				if tt.newest != "" {
					e.Base.Newest = tt.newest
				}
				if tt.claimed {
					e.Base.Evidence = attestor.Attested
				}
			}))), attestor.CheckVulnerabilities)
			if len(c.Reasons) != 2 || c.Reasons[0].Message != tt.msg || c.Reasons[0].Fix != tt.fix || c.Reasons[1].Message != tt.way {
				t.Errorf("%+v\nwant %q\n%q\n%q", c.Reasons, tt.msg, tt.fix, tt.way)
			}
		})
	}
}

// The shortest way counts findings and packages, names ten at most, and is not
// told where another scan comes first.
func TestTheShortestWay(t *testing.T) {
	packages := func(n int) []attestor.Vulnerability {
		var list []attestor.Vulnerability
		for i := range n {
			list = append(list, high(func(v *attestor.Vulnerability) { v.Package = fmt.Sprintf("p%02d", i) }))
		}
		return list
	}
	way := func(change ...func(*attestor.Evidence)) string {
		p := with(t)
		for _, r := range check(t, p.Judge(passing(p, change...)), attestor.CheckVulnerabilities).Reasons {
			if r.Code == attestor.CodeShortestWay {
				return r.Message
			}
		}
		return ""
	}
	for n, want := range map[int]string{
		10: "update 10 packages (p00, p01, p02, p03, p04, p05, p06, p07, p08, p09)",
		11: "update 11 packages (p00, p01, p02, p03, p04, p05, p06, p07, p08, p09 and 1 more)",
		13: "p09 and 3 more)",
	} {
		if got := way(findings(packages(n)...)); !strings.Contains(got, want) || !strings.HasPrefix(got, fmt.Sprint(n, " findings in all")) {
			t.Errorf("%d packages: %q, want %q", n, got, want)
		}
	}

	base := func(v *attestor.Vulnerability) {
		v.DiffIDs = []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("b", 64))}
	}
	two := []attestor.Vulnerability{high(base), high(func(v *attestor.Vulnerability) { base(v); v.Package = "zlib" })}
	if got := way(findings(two...)); !strings.Contains(got, "2 findings come from the base") {
		t.Errorf("two of the base: %q", got)
	}
	for _, state := range []attestor.ScanState{attestor.ScanFailed, attestor.ScanUnsupported} {
		if got := way(findings(high(nil)), on(func(e *attestor.PlatformEvidence) { e.Scan.State = state })); got != "" {
			t.Errorf("%s: %q", state, got)
		}
	}
	// A finding that is admitted is no part of the way, nor is one that only warns.
	if got := way(findings(high(nil), vulnerability("CVE-2026-2", func(v *attestor.Vulnerability) {
		v.Package = "curl"
	}))); strings.Contains(got, "curl") || !strings.HasPrefix(got, "1 finding in all") {
		t.Errorf("with one that is admitted: %q", got)
	}
}

// What a scan does not report is counted, and what was not judged is named.
func TestWhatIsSaidOfWhatWasNotJudged(t *testing.T) {
	p := with(t, "    scan: {packageTypes: [OS]}")
	of := func(kind string) attestor.Vulnerability {
		return vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) { v.PackageType = kind })
	}
	unreported := vulnerability("CVE-2026-2", func(v *attestor.Vulnerability) { v.KnownExploited, v.EPSS = nil, nil })
	v := p.Judge(passing(p, findings(of("NPM"), of("GO"), of("NPM"), of("OS"), unreported, unreported)))
	var got []string
	for _, r := range check(t, v, attestor.CheckVulnerabilities).Reasons {
		got = append(got, r.Message)
	}
	want := []string{
		"the scanner does not report whether they are exploited: 2 of 3 findings",
		"the scanner does not report the probability of exploitation: 2 of 3 findings",
		"not judged: 1 finding in packages of type GO", "not judged: 2 findings in packages of type NPM",
	}
	if !slices.Equal(got, want) || v.Outcome() != attestor.Pass {
		t.Errorf("%s: %q, want %q", v.Outcome(), got, want)
	}

	silent := with(t, "    knownExploited: allow")
	for _, r := range check(t, silent.Judge(passing(silent, findings(unreported))), attestor.CheckVulnerabilities).Reasons {
		if r.Subject == "knownExploited" {
			t.Errorf("what the policy does not ask about is missed: %+v", r)
		}
	}
}

// Where no scan is required and there is none, findings count all the same;
// what only warns or was excused leaves the check skipped, with the reason first.
func TestFindingsWithoutAScan(t *testing.T) {
	none := on(func(e *attestor.PlatformEvidence) { e.Scan.State = attestor.ScanNotFound })
	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		status attestor.Status
		first  attestor.Code
	}{
		"no finding":          {none, attestor.StatusSkipped, attestor.CodeScanNotFound},
		"one above the limit": {changes(none, findings(high(nil))), attestor.StatusDeny, attestor.CodeFixableSeverityExceeded},
		"one that is not reported": {
			changes(none, findings(vulnerability("CVE-2026-2", func(v *attestor.Vulnerability) { v.EPSS = nil }))),
			attestor.StatusSkipped, attestor.CodeScanNotFound},
		"a problem": {changes(none, whole(found(attestor.CheckVulnerabilities, attestor.StatusError,
			attestor.CodeScanUnavailable))), attestor.StatusError, attestor.CodeScanUnavailable},
	} {
		p := with(t, "    scan: {required: false}")
		c := check(t, p.Judge(passing(p, tt.change)), attestor.CheckVulnerabilities)
		if c.Status != tt.status || len(c.Reasons) == 0 || c.Reasons[0].Code != tt.first {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

// A statement excuses by the first trusted project that makes it, and no
// statement of a trusted project that is not accepted may stand beside it.
func TestWhoseStatementExcuses(t *testing.T) {
	p := one(t, strings.Replace(strict, "projects: [acme-security]}", "projects: [acme-security, acme-build]}", 1))
	say := func(list ...attestor.VEX) func(*attestor.Evidence) {
		return findings(high(func(v *attestor.Vulnerability) { v.VEX = list }))
	}
	accepted := func(project string) attestor.VEX {
		return attestor.VEX{Project: project, Status: "not_affected", Justification: "no such code"}
	}
	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		owner  string // "": refused
	}{
		"one":                             {say(accepted("acme-build")), "acme-build"},
		"two":                             {say(accepted("acme-build"), accepted("acme-security")), "acme-build"},
		"a stranger's before it":          {say(accepted("mallory"), accepted("acme-security")), "acme-security"},
		"a stranger's alone":              {say(accepted("mallory")), ""},
		"one that is affected, beside it": {say(accepted("acme-build"), attestor.VEX{Project: "acme-security", Status: "affected"}), ""},
		"a stranger's affected, beside":   {say(accepted("acme-build"), attestor.VEX{Project: "mallory", Status: "affected"}), "acme-build"},
	} {
		c := check(t, p.Judge(passing(p, tt.change)), attestor.CheckVulnerabilities)
		owner := ""
		if len(c.Exceptions) == 1 {
			owner = c.Exceptions[0].Owner
		}
		if owner != tt.owner || (c.Status == attestor.StatusPass) != (tt.owner != "") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
