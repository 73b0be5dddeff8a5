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

func TestJudgeThresholds(t *testing.T) {
	sev := func(s attestor.Severity) func(*attestor.Vulnerability) {
		return func(v *attestor.Vulnerability) { v.Severity = s }
	}
	unfixable := func(v *attestor.Vulnerability) { v.Fixable, v.FixedVersion = false, "" }
	limits := func(fixable, unfixable string) []string {
		return []string{"    maximumFixableSeverity: " + fixable, "    maximumUnfixableSeverity: " + unfixable}
	}
	none, fix, unfix, unspecified := []attestor.Code(nil), []attestor.Code{attestor.CodeFixableSeverityExceeded},
		[]attestor.Code{attestor.CodeUnfixableSeverityExceeded}, []attestor.Code{attestor.CodeUnspecifiedSeverity}
	for _, tt := range []struct {
		name   string
		policy []string
		change []func(*attestor.Vulnerability)
		want   []attestor.Code
	}{
		{"fixable at the limit", nil, []func(*attestor.Vulnerability){sev(attestor.Medium)}, none},
		{"fixable above", nil, []func(*attestor.Vulnerability){sev(attestor.High)}, fix},
		{"unfixable at the limit", nil, []func(*attestor.Vulnerability){sev(attestor.High), unfixable}, none},
		{"unfixable above", nil, []func(*attestor.Vulnerability){sev(attestor.Critical), unfixable}, unfix},
		{"BLOCK_ALL blocks the least", limits("BLOCK_ALL", "ALLOW_ALL"), []func(*attestor.Vulnerability){sev(attestor.Minimal)}, fix},
		{"BLOCK_ALL blocks the unspecified", append(limits("BLOCK_ALL", "BLOCK_ALL"),
			"    unspecifiedSeverity: allow"), []func(*attestor.Vulnerability){sev("")}, fix},
		{"ALLOW_ALL allows the worst", limits("ALLOW_ALL", "ALLOW_ALL"), []func(*attestor.Vulnerability){sev(attestor.Critical)}, none},
		{"ALLOW_ALL, but unspecified is denied", limits("ALLOW_ALL", "ALLOW_ALL"), []func(*attestor.Vulnerability){sev("")}, unspecified},
		{"ALLOW_ALL, and unspecified is allowed", append(limits("ALLOW_ALL", "ALLOW_ALL"),
			"    unspecifiedSeverity: allow"), []func(*attestor.Vulnerability){sev("")}, none},
		{"a word of a later version", nil, []func(*attestor.Vulnerability){sev("IMPORTANT")}, []attestor.Code{attestor.CodeUnknownFinding}},
		{"a word of a later version under ALLOW_ALL",
			append(limits("ALLOW_ALL", "ALLOW_ALL"), "    unspecifiedSeverity: allow"),
			[]func(*attestor.Vulnerability){sev("IMPORTANT")}, []attestor.Code{attestor.CodeUnknownFinding}},
		{"a word of a later version, warned of", []string{"  unknownFindings: warn"}, []func(*attestor.Vulnerability){sev("IMPORTANT")}, none},
		{"a word of a later version, ignored", []string{"  unknownFindings: ignore"}, []func(*attestor.Vulnerability){sev("IMPORTANT")}, none},
		{"no severity where those of later versions are ignored", []string{"  unknownFindings: ignore"}, []func(*attestor.Vulnerability){sev("")}, unspecified},
		{"blocked, however low", nil, []func(*attestor.Vulnerability){sev(attestor.Minimal),
			func(v *attestor.Vulnerability) { v.ID = "CVE-2021-44228" }}, []attestor.Code{attestor.CodeCVEBlocked}},
		{"blocked in capitals", []string{"    blockedCves: [GHSA-JFH8-C2JP-5V3Q]"}, []func(*attestor.Vulnerability){sev(attestor.Minimal),
			func(v *attestor.Vulnerability) { v.ID = "GHSA-jfh8-c2jp-5v3q" }}, []attestor.Code{attestor.CodeCVEBlocked}},
		{"blocked without capitals", []string{"    blockedCves: [GHSA-jfh8-c2jp-5v3q]"}, []func(*attestor.Vulnerability){sev(attestor.Minimal),
			func(v *attestor.Vulnerability) { v.ID = "GHSA-JFH8-C2JP-5V3Q" }}, []attestor.Code{attestor.CodeCVEBlocked}},
		{"another one is blocked", []string{"    blockedCves: [GHSA-jfh8-c2jp-5v3]"}, []func(*attestor.Vulnerability){sev(attestor.Minimal),
			func(v *attestor.Vulnerability) { v.ID = "GHSA-jfh8-c2jp-5v3q" }}, none},
		{"known to be exploited", nil, []func(*attestor.Vulnerability){func(v *attestor.Vulnerability) {
			v.KnownExploited = new(true)
		}}, []attestor.Code{attestor.CodeKnownExploited}},
		{"known to be exploited, warned of", []string{"    knownExploited: warn"},
			[]func(*attestor.Vulnerability){func(v *attestor.Vulnerability) { v.KnownExploited = new(true) }}, none},
		{"known to be exploited, not asked", []string{"    knownExploited: allow"},
			[]func(*attestor.Vulnerability){func(v *attestor.Vulnerability) { v.KnownExploited = new(true) }}, none},
		{"EPSS at the limit", nil, []func(*attestor.Vulnerability){func(v *attestor.Vulnerability) { v.EPSS = new(0.5) }}, none},
		{"EPSS above", nil, []func(*attestor.Vulnerability){func(v *attestor.Vulnerability) { v.EPSS = new(0.51) }},
			[]attestor.Code{attestor.CodeEPSSExceeded}},
		{"a package type that is not judged", []string{"    scan: {packageTypes: [OS]}"},
			[]func(*attestor.Vulnerability){sev(attestor.Critical),
				func(v *attestor.Vulnerability) { v.PackageType = "NPM" }}, none},
		{"no package type is always judged", []string{"    scan: {packageTypes: [OS]}"}, []func(*attestor.Vulnerability){
			sev(attestor.Critical), func(v *attestor.Vulnerability) { v.PackageType = "" }}, fix},
		{"blocked in any package type", []string{"    scan: {packageTypes: [OS]}"}, []func(*attestor.Vulnerability){
			func(v *attestor.Vulnerability) { v.ID, v.PackageType = "CVE-2021-44228", "MAVEN" }},
			[]attestor.Code{attestor.CodeCVEBlocked}},
		{"everything at once is all said", nil, []func(*attestor.Vulnerability){sev(attestor.Critical), func(v *attestor.Vulnerability) {
			v.ID, v.KnownExploited, v.EPSS = "CVE-2021-44228", new(true), new(0.97)
		}}, []attestor.Code{attestor.CodeCVEBlocked, attestor.CodeEPSSExceeded, attestor.CodeFixableSeverityExceeded, attestor.CodeKnownExploited}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.policy...)
			v := p.Judge(passing(p, findings(vulnerability("CVE-2026-1", tt.change...))))
			if tt.want == nil {
				tt.want = []attestor.Code{}
			}
			if diff := cmp.Diff(tt.want, refusals(v)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (v.Outcome() == attestor.Pass) != (len(tt.want) == 0) {
				t.Errorf("%s", v.Outcome())
			}
		})
	}
}

func TestJudgeGracePeriod(t *testing.T) {
	const day = 24 * time.Hour
	at := func(age time.Duration) *time.Time { return new(today().Add(-age)) }
	for _, tt := range []struct {
		name      string
		severity  attestor.Severity
		published *time.Time
		want      attestor.Outcome
	}{
		{"within", attestor.High, at(6 * day), attestor.Pass},
		{"at its last moment", attestor.High, at(7*day - 1), attestor.Pass},
		{"over", attestor.High, at(7 * day), attestor.Deny},
		{"not published", attestor.High, nil, attestor.Deny},
		{"published tomorrow", attestor.High, at(-day), attestor.Deny},
		{"none for this severity", attestor.Critical, at(day), attestor.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t)
			v := p.Judge(passing(p, findings(vulnerability("CVE-2026-1",
				func(v *attestor.Vulnerability) { v.Severity, v.Published = tt.severity, tt.published }))))
			if v.Outcome() != tt.want {
				t.Fatalf("%s, want %s", v.Outcome(), tt.want)
			}
			if warned := slices.Contains(said(v), attestor.CodeInGracePeriod); warned != (tt.want == attestor.Pass) {
				t.Errorf("IN_GRACE_PERIOD: %t", warned)
			}
		})
	}
	t.Run("does not cover what is exploited or blocked", func(t *testing.T) {
		p := with(t)
		v := p.Judge(passing(p, findings(vulnerability("CVE-2021-44228", func(v *attestor.Vulnerability) {
			v.Severity, v.Published, v.KnownExploited = attestor.High, at(day), new(true)
		}))))
		if diff := cmp.Diff([]attestor.Code{attestor.CodeCVEBlocked, attestor.CodeKnownExploited}, refusals(v)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestJudgeVEX(t *testing.T) {
	vex := func(status, project string) attestor.VEX {
		return attestor.VEX{Status: status, Project: project, Note: "projects/" + project + "/notes/n", Justification: "component_not_present"}
	}
	for _, tt := range []struct {
		name string
		id   string
		vex  []attestor.VEX
		want attestor.Outcome
	}{
		{"not affected, by whom the policy trusts", "CVE-1-1", []attestor.VEX{vex("not_affected", "acme-security")}, attestor.Pass},
		{"fixed", "CVE-1-1", []attestor.VEX{vex("fixed", "acme-security")}, attestor.Pass},
		{"by somebody else", "CVE-1-1", []attestor.VEX{vex("not_affected", "acme")}, attestor.Deny},
		{"by the image itself", "CVE-1-1", []attestor.VEX{vex("not_affected", "")}, attestor.Deny},
		{"under investigation", "CVE-1-1", []attestor.VEX{vex("under_investigation", "acme-security")}, attestor.Deny},
		{"contradicted", "CVE-1-1", []attestor.VEX{vex("not_affected", "acme-security"), vex("affected", "acme-security")}, attestor.Deny},
		{"contradicted by somebody else", "CVE-1-1", []attestor.VEX{vex("not_affected", "acme-security"), vex("affected", "acme")}, attestor.Pass},
		{"of no status", "CVE-1-1", []attestor.VEX{vex("", "acme-security")}, attestor.Deny},
		{"blocked all the same", "CVE-2021-44228", []attestor.VEX{vex("not_affected", "acme-security")}, attestor.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t)
			v := p.Judge(passing(p, findings(vulnerability(tt.id, func(v *attestor.Vulnerability) { v.Severity, v.VEX = attestor.Critical, tt.vex }))))
			if v.Outcome() != tt.want {
				t.Fatalf("%s, want %s: %+v", v.Outcome(), tt.want, v.Checks())
			}
			applied := check(t, v, attestor.CheckVulnerabilities).Exceptions
			if tt.want == attestor.Pass && (len(applied) != 1 || applied[0].Owner != "acme-security" || applied[0].ID != tt.id) {
				t.Errorf("the decision does not show the statement: %+v", applied)
			}
		})
	}
	t.Run("not asked", func(t *testing.T) {
		p := one(t, strings.Replace(strict, "    vex: {accept: [not_affected, fixed], projects: [acme-security]}\n", "", 1))
		v := p.Judge(passing(p, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) {
			v.Severity, v.VEX = attestor.Critical, []attestor.VEX{vex("not_affected", "acme-security")}
		}))))
		if v.Outcome() != attestor.Deny {
			t.Error(v.Outcome())
		}
	})
}

func TestJudgeBaseFindings(t *testing.T) {
	own, inBase := attestor.Digest("sha256:"+strings.Repeat("d", 64)), attestor.Digest("sha256:"+strings.Repeat("b", 64))
	lines := []string{"    baseFindings: {maximumFixableSeverity: CRITICAL, maximumUnfixableSeverity: CRITICAL}"}
	for _, tt := range []struct {
		name   string
		layers []attestor.Digest
		change func(*attestor.PlatformEvidence)
		want   attestor.Outcome
	}{
		{"in the base", []attestor.Digest{inBase}, nil, attestor.Pass},
		{"in the image's own layers", []attestor.Digest{own}, nil, attestor.Deny},
		{"in both", []attestor.Digest{inBase, own}, nil, attestor.Deny},
		{"in no layer that is told", nil, nil, attestor.Deny},
		{"in a layer that the image does not have", []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("e", 64))}, nil, attestor.Deny},
		{"in a base that is not proven well enough", []attestor.Digest{inBase},
			func(e *attestor.PlatformEvidence) { e.Base.Evidence = attestor.Attested }, attestor.Deny},
		{"in a base that is not approved", []attestor.Digest{inBase}, func(e *attestor.PlatformEvidence) { e.Base.Name = "other" }, attestor.Deny},
		{"in a layer that is the image's own too", []attestor.Digest{inBase},
			func(e *attestor.PlatformEvidence) { e.Layers[1].DiffID = inBase }, attestor.Deny},
		{"with more layers of the base than there are", []attestor.Digest{inBase}, func(e *attestor.PlatformEvidence) { e.Base.Layers = 3 }, attestor.Deny},
		{"with fewer than none", []attestor.Digest{inBase}, func(e *attestor.PlatformEvidence) { e.Base.Layers = -1 }, attestor.Deny},
		{"where layers are not told", []attestor.Digest{""}, func(e *attestor.PlatformEvidence) { e.Layers[0].DiffID = "" }, attestor.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, lines...)
			ev := passing(p, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity, v.DiffIDs = attestor.Critical, tt.layers })))
			if tt.change != nil {
				tt.change(&ev.Platforms[0])
			}
			c := check(t, p.Judge(ev), attestor.CheckVulnerabilities)
			if (c.Status == attestor.StatusPass) != (tt.want == attestor.Pass) {
				t.Errorf("%s: %+v", c.Status, c.Reasons)
			}
		})
	}
}

// The messages are those that the contract shows.
func TestVulnerabilityMessages(t *testing.T) {
	p := with(t)
	own, inBase := attestor.Digest("sha256:"+strings.Repeat("d", 64)), attestor.Digest("sha256:"+strings.Repeat("b", 64))
	newest := attestor.Digest("sha256:" + strings.Repeat("3", 64))
	ev := passing(p, findings(
		vulnerability("CVE-2026-1234", func(v *attestor.Vulnerability) { v.Severity, v.DiffIDs = attestor.Critical, []attestor.Digest{own} }),
		vulnerability("CVE-2026-5", func(v *attestor.Vulnerability) {
			v.Severity, v.Package, v.FixedVersion, v.DiffIDs = attestor.High, "zlib", "1.3.1", []attestor.Digest{own}
		}),
		vulnerability("CVE-2026-6", func(v *attestor.Vulnerability) {
			v.Severity, v.Package, v.DiffIDs = attestor.Critical, "glibc", []attestor.Digest{inBase}
		}),
		vulnerability("CVE-2026-7", func(v *attestor.Vulnerability) {
			v.Severity, v.Package, v.Fixable, v.FixedVersion = attestor.Critical, "perl", false, ""
		}),
	), on(func(e *attestor.PlatformEvidence) {
		e.Base.Newest, e.Base.Current, e.Base.Superseded = newest, false, new(today().Add(-time.Hour))
	}))
	c := check(t, p.Judge(ev), attestor.CheckVulnerabilities)
	want := []attestor.Reason{
		{Code: "FIXABLE_SEVERITY_EXCEEDED", Severity: attestor.Refuses, Subject: "CVE-2026-1234",
			Message: "CRITICAL in openssl 3.0.11 (in your own layers), limit for fixable is MEDIUM",
			Fix:     "update openssl to 3.0.15"},
		{Code: "FIXABLE_SEVERITY_EXCEEDED", Severity: attestor.Refuses, Subject: "CVE-2026-6",
			Message: "CRITICAL in glibc 3.0.11 (from the base static), limit for fixable is MEDIUM",
			Fix:     "rebuild on the base's current version: FROM registry.example/base/static@" + string(newest)},
		{Code: "UNFIXABLE_SEVERITY_EXCEEDED", Severity: attestor.Refuses, Subject: "CVE-2026-7",
			Message: "CRITICAL in perl 3.0.11, limit for unfixable is HIGH",
			Fix:     "remove perl, or add it to spec.vulnerabilities.allowedCves with owner, reason and expiry"},
		{Code: "FIXABLE_SEVERITY_EXCEEDED", Severity: attestor.Refuses, Subject: "CVE-2026-5",
			Message: "HIGH in zlib 3.0.11 (in your own layers), limit for fixable is MEDIUM",
			Fix:     "update zlib to 1.3.1"},
		{Code: "SHORTEST_WAY", Severity: attestor.Informs,
			Message: "4 findings in all; the shortest way to a pass: update 2 packages in your own layers " +
				"(openssl, zlib); remove or except 1 package without a fix (perl); 1 finding comes from the base: " +
				"rebuild on the base's current version: FROM registry.example/base/static@" + string(newest)},
	}
	if diff := cmp.Diff(want, c.Reasons); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// One line per finding, up to a bound, worst first: the decisive one is said
// wherever it stood in the evidence.
func TestManyFindings(t *testing.T) {
	for _, n := range []int{0, 1, 999, 1000, 1001, 25_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := with(t)
			list := make([]attestor.Vulnerability, n)
			for i := range list {
				list[i] = vulnerability(fmt.Sprintf("CVE-2026-%d", i), func(v *attestor.Vulnerability) { v.Severity = attestor.High })
			}
			if n > 0 {
				list[n-1].Severity = attestor.Critical
			}
			v := p.Judge(passing(p, findings(list...)))
			c := check(t, v, attestor.CheckVulnerabilities)
			if n == 0 {
				if v.Outcome() != attestor.Pass {
					t.Error(v.Outcome())
				}
				return
			}
			if c.Reasons[0].Subject != list[n-1].ID || v.Outcome() != attestor.Deny {
				t.Errorf("%s, first: %+v", v.Outcome(), c.Reasons[0])
			}
			lines := min(n, 1000) + 1 // and the shortest way
			if n > 1000 {
				lines++ // and how many more
			}
			if len(c.Reasons) != lines {
				t.Errorf("%d reasons, want %d", len(c.Reasons), lines)
			}
			if last := c.Reasons[len(c.Reasons)-1]; last.Code != attestor.CodeShortestWay {
				t.Errorf("the last reason is %s", last.Code)
			}
		})
	}
}

func TestNotReported(t *testing.T) {
	p := with(t)
	v := p.Judge(passing(p, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.EPSS, v.KnownExploited = nil, nil }))))
	c := check(t, v, attestor.CheckVulnerabilities)
	var subjects []string
	for _, r := range c.Reasons {
		if r.Code == attestor.CodeNotReported {
			subjects = append(subjects, r.Subject)
		}
	}
	if diff := cmp.Diff([]string{"knownExploited", "EPSS"}, subjects); diff != "" || v.Outcome() != attestor.Pass {
		t.Errorf("%s: %s", v.Outcome(), diff)
	}
}
