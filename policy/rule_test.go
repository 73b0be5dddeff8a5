package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

func ruleFor(t testing.TB, expression string) string {
	t.Helper()
	return fmt.Sprintf("  rules: [{name: r, expression: '%s', message: it is not so, fix: make it so}]", strings.ReplaceAll(expression, "'", "''"))
}

func TestRules(t *testing.T) {
	labelled := on(func(e *attestor.PlatformEvidence) { e.Config.Labels = map[string]string{"team": "a"} })
	for _, tt := range []struct {
		name, expression string
		change           func(*attestor.Evidence)
		want             attestor.Outcome
		code             attestor.Code
	}{
		{"true", `image.labels["team"] == "a"`, labelled, attestor.Pass, ""},
		{"false", `image.labels["team"] == "b"`, labelled, attestor.Deny, attestor.CodeRuleViolated},
		{"a missing key is no false", `image.labels["owner"] == "b"`, labelled, attestor.Undecided, attestor.CodeRuleFailed},
		{"nor is it where the rule denies", `image.labels["owner"] != "b"`, labelled, attestor.Undecided, attestor.CodeRuleFailed},
		{"no labels", `"team" in image.labels`, nil, attestor.Deny, attestor.CodeRuleViolated},
		{"the caller's labels are not the image's", `"team" in image.labels`, func(ev *attestor.Evidence) {
			ev.Labels = map[string]string{"team": "a"}
		}, attestor.Deny, attestor.CodeRuleViolated},
		{"the image's labels are not the caller's", `"team" in request.labels`, labelled, attestor.Deny, attestor.CodeRuleViolated},
		{"division by zero", `1 / scan.counts["CRITICAL"] == 1`, nil, attestor.Undecided, attestor.CodeRuleFailed},
		{"an unknown age is a great age", `time - image.created < duration("720h")`,
			on(func(e *attestor.PlatformEvidence) { e.Config.Created = nil }), attestor.Deny,
			attestor.CodeRuleViolated},
		{"an unknown upload is long ago", `time - subject.uploaded < duration("720h")`, nil, attestor.Pass, ""},
		{"an unknown user is below any", `user.uid >= 1000`, nil, attestor.Pass, ""},
		{"findings", `scan.findings.all(f, f.severity != "LOW")`, findings(vulnerability("CVE-1-1")), attestor.Deny, attestor.CodeRuleViolated},
		{"provenance", `provenance.exists(p, p.source.startsWith("https://git.example/acme/"))`, nil, attestor.Pass, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, ruleFor(t, tt.expression))
			ev := passing(p)
			if tt.change != nil {
				tt.change(&ev)
			}

			v := p.Judge(ev)
			if v.Outcome() != tt.want {
				t.Fatalf("%s, want %s: %+v", v.Outcome(), tt.want, v.Checks())
			}

			c := check(t, v, "rule:r")
			if tt.code != "" && (len(c.Reasons) != 1 || c.Reasons[0].Code != tt.code || c.Reasons[0].Subject != "r" || c.Reasons[0].Fix == "") {
				t.Errorf("%+v", c)
			}
			if tt.code == attestor.CodeRuleViolated && (c.Reasons[0].Message != "it is not so" || c.Reasons[0].Fix != "make it so") {
				t.Errorf("%+v", c.Reasons)
			}
		})
	}
}

// A rule that grows too costly with the evidence is an error, not a pass.
func TestRuleCostLimit(t *testing.T) {
	p := with(t, ruleFor(t, `image.exposedPorts.all(a, image.exposedPorts.all(b, a.size() + b.size() >= 0))`), "  user: {nonRoot: true}")
	ports := make([]string, 1500)

	for i := range ports {
		ports[i] = fmt.Sprintf("%d/tcp", i)
	}

	v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Config.ExposedPorts = ports })))
	if c := check(t, v, "rule:r"); v.Outcome() != attestor.Undecided ||
		c.Reasons[0].Code != attestor.CodeRuleFailed || !strings.Contains(c.Reasons[0].Message, "cost limit") {
		t.Errorf("%s: %+v", v.Outcome(), c)
	}
}

// Rules are evaluated for each platform, with its own evidence.
func TestRulesPerPlatform(t *testing.T) {
	p := with(t, ruleFor(t, `image.labels["team"] == "a" && subject.platform.startsWith("linux/")`))
	v := p.Judge(passing(p, index(func(first, second *attestor.PlatformEvidence) {
		first.Config.Labels, second.Config.Labels = map[string]string{"team": "a"}, map[string]string{"team": "b"}
	})))

	status := map[string]attestor.Status{}
	for _, c := range v.Checks() {
		if c.Name == "rule:r" {
			status[c.Platform] = c.Status
		}
	}

	if status["linux/amd64"] != attestor.StatusPass || status["linux/arm64"] != attestor.StatusDeny || v.Outcome() != attestor.Deny {
		t.Errorf("%v", status)
	}
}

// With 25,000 findings a rule over each of them is within its bounds.
func TestRuleOverManyFindings(t *testing.T) {
	p := with(t, ruleFor(t, `scan.findings.all(f, f.severity != "CRITICAL" || !f.id.startsWith("CVE-2021-"))`))
	list := make([]attestor.Vulnerability, 25_000)

	for i := range list {
		list[i] = vulnerability(fmt.Sprintf("CVE-1-%d", i))
	}

	if v := p.Judge(passing(p, findings(list...))); v.Outcome() != attestor.Pass {
		t.Errorf("%s: %+v", v.Outcome(), check(t, v, "rule:r"))
	}
}

// A rule that holds of the part of a claim that was kept may not hold of the
// whole of it.
func TestRulesOnClippedClaims(t *testing.T) {
	for _, tt := range []struct {
		name, expression string
		want             attestor.Outcome
	}{
		{"what was clipped", `!("debug" in image.labels)`, attestor.Undecided},
		{"deeper in the expression", `[1].all(n, image.labels.size() < 1000)`, attestor.Undecided},
		{"optionally", `!image.?labels.hasValue() || true`, attestor.Undecided},
		{"false all the same", `"team" in image.labels`, attestor.Deny},
		{"something else", `!("DEBUG" in image.envNames)`, attestor.Pass},
		{"the caller's labels", `!("debug" in request.labels)`, attestor.Pass},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, `  rules: [{name: r, message: m, expression: '`+tt.expression+`'}]`)
			ev := passing(p, on(func(e *attestor.PlatformEvidence) { e.Config.Clipped = []string{"labels"} }))
			if v := p.Judge(ev); v.Outcome() != tt.want {
				t.Errorf("%s, want %s: %+v", v.Outcome(), tt.want, v.Checks())
			}
		})
	}
}
