package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// TestRulesReadVEX: a rule sees the statements of those whom the policy names, of nobody else, and never a part of them.
func TestRulesReadVEX(t *testing.T) {
	rule := func(expression string) *policy.Policy {
		return with(t, `    vex: {accept: [not_affected, fixed], projects: [acme-security], sources: [`+ours+`, `+vendors+`]}`,
			"  rules: [{name: vex, message: refused, expression: '"+expression+"'}]")
	}
	statements := func(change func(*attestor.PlatformEvidence)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Scan.Findings, e.VEX = nil, []attestor.VEXStatement{says(), says(by(vendorsText), affected), says(by("key=\"/keys/other.pub\""))}
			change(e)
		})
	}
	none := func(*attestor.PlatformEvidence) {}
	ofProject := func(project string) func(*attestor.PlatformEvidence) {
		return func(e *attestor.PlatformEvidence) {
			f := vulnerability("CVE-2026-9", func(v *attestor.Vulnerability) {
				v.Severity = attestor.Minimal
				v.VEX = []attestor.VEX{{Project: project, Status: "under_investigation", Note: "n"}}
			})
			e.VEX, e.Scan.Findings = nil, []attestor.Vulnerability{f, f}
		}
	}

	for expression, tt := range map[string]struct {
		change func(*attestor.PlatformEvidence)
		want   attestor.Outcome
	}{
		`size(vex) == 2`: {none, attestor.Pass},
		`vex.exists(s, s.by == "ours" && s.status == "not_affected" && "CVE-2026-1" in s.ids && s.exact)`: {none, attestor.Pass},
		`vex.exists(s, s.by == "ours" && s.status == "affected")`:                                         {none, attestor.Deny},
		`!vex.exists(s, s.status == "affected")`:                                                          {none, attestor.Deny},
		`!vex.exists(s, s.status == "fixed")`:                                                             {none, attestor.Pass},
		`vex.all(s, s.time < time && s.justification != "")`:                                              {none, attestor.Pass},
		`size(vex) == 1 && vex[0].by == "acme-security" && vex[0].ids == ["CVE-2026-9"]`:                  {ofProject("acme-security"), attestor.Pass},
		`size(vex) == 0`: {ofProject("mallory"), attestor.Pass},
		`size(vex) >= 0`: {func(e *attestor.PlatformEvidence) {
			e.Problems = append(e.Problems, attestor.Problem{Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
				Reason: attestor.Reason{Code: attestor.CodeVEXUnavailable, Message: "unreadable"}})
		}, attestor.Undecided},
	} {
		q := rule(expression)
		if v := q.Judge(passing(q, statements(tt.change))); v.Outcome() != tt.want {
			t.Errorf("%s: %s, want %s: %v", expression, v.Outcome(), tt.want, refusals(v))
		}
	}

	// Without a policy about statements nobody looks for any.
	text := edited(t, "  rules: [{name: vex, message: refused, expression: 'size(vex) == 0'}]")
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.HasPrefix(l, "    vex:") })
	text = strings.Join(lines, "\n")
	if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)}); err == nil || !strings.Contains(err.Error(), "spec.vulnerabilities.vex") {
		t.Errorf("%v", err)
	}
}
