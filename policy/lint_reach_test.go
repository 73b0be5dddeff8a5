package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// lintAt are the warnings about a path.
func lintAt(t *testing.T, text, path string) []string {
	t.Helper()
	var out []string

	for _, d := range setOf(t, text).Lint(today()) {
		if d.Path == path {
			if d.Line < 1 || d.Column < 1 {
				t.Errorf("without its place: %+v", d)
			}
			out = append(out, d.Message)
		}
	}
	return out
}

// TestLintPatterns: a pattern that no repository can match is found wherever a policy has patterns.
func TestLintPatterns(t *testing.T) {
	const cve = "    allowedCves: [{id: CVE-1-1, images: [%s], owner: o, reason: r, expires: 2027-12-01}]"
	const waiver = "  exceptions: [{check: user, subject: USER_ROOT, images: [%s], owner: o, reason: r, expires: 2027-12-01}]"

	for path, line := range map[string]string{
		"spec.images[1]":                                "  images: [\"registry.example/acme/**\", %s]",
		"spec.scope.trustedDirectories[0]":              "  scope: {trustedDirectories: [%s, \"registry.example/acme/prod/**\"]}",
		"spec.exceptions[0].images[0]":                  waiver,
		"spec.vulnerabilities.allowedCves[0].images[0]": cve,
	} {
		for _, pattern := range []string{"registry.example/acme/.*", "registry.example/acme/Prod/*", "registry.example/acme/a..b", "acme/prod/*"} {
			got := strings.Join(lintAt(t, edited(t, fmt.Sprintf(line, `"`+pattern+`"`)), path), "\n")
			if !strings.Contains(got, pattern+" can match no repository") || strings.Contains(got, "holds none") {
				t.Errorf("%s: %s: %q", path, pattern, got)
			}
		}
		if got := lintAt(t, edited(t, fmt.Sprintf(line, `"registry.example/acme/a.*/**"`)), path); len(got) != 0 {
			t.Errorf("%s: %v about a pattern that can match", path, got)
		}
	}
}

// TestLintSubjects: an exception whose subject or code cannot occur has no effect, which its author should hear of.
func TestLintSubjects(t *testing.T) {
	const rules = "  rules: [{name: team, expression: 'image.user == \"x\"', message: m}]"
	for _, tt := range []struct {
		check, subject string
		policy         []string
		want           string // "" for a subject that can occur
	}{
		{"user", "USER_RUUT", nil, "did you mean USER_ROOT?"},
		{"user", "SOMETHING_ELSE_ENTIRELY", nil, "is not the code of a reason"},
		{"vulnerabilities", "FIXABLE_SEVERITY_EXCEDED", nil, "did you mean FIXABLE_SEVERITY_EXCEEDED?"},
		{"user", "USER_ROOT", nil, ""}, {"user", "root", nil, ""}, {"user", "0:0", nil, ""}, {"user", `"*"`, nil, "excuses whatever"},
		{"vulnerabilities", "CVE-2021-1", nil, ""}, {"vulnerabilities", "GHSA-jfh8-c2jp-5v3q", nil, ""},
		{"base", "USER_ROOT", nil, "USER_ROOT is a reason of user, never of base"},
		{"user", "RULE_VIOLATED", nil, "RULE_VIOLATED is a reason of rule, never of user"},
		{"user", "EXCEPTION_STALE", nil, "is a reason of policy, never of user"},
		{"user", "LAYERS_MISMATCH", nil, ""}, // what is wrong with a layer may be in the way of any check
		{"user", "MANIFEST_INVALID", nil, ""},
		{"vulnerabilities", "SCAN_NOT_FOUND", nil, "no exception excuses"},
		{"vulnerabilities", "SCAN_NOT_OF_CHILD", nil, ""},
		{"vulnerabilities", "SHORTEST_WAY", nil, "refuses nothing"},
		{"user", "GROUP_ROOT", nil, ""},
		{"user", "GROUP_ROOT", []string{"  user: {nonRoot: true, rootGroup: allow}"}, "no image can be denied for GROUP_ROOT"},
		{"vulnerabilities", "KNOWN_EXPLOITED", []string{"    knownExploited: deny"}, ""},
		{"vulnerabilities", "KNOWN_EXPLOITED", []string{"    knownExploited: allow"}, "no image can be denied for KNOWN_EXPLOITED"},
		{"vulnerabilities", "EPSS_EXCEEDED", []string{"    maximumEPSS: 0.5"}, ""},
		{"vulnerabilities", "SCAN_UNSUPPORTED", []string{"    scan: {onUnsupported: allow}"}, "no image can be denied"},
		{"scope", "registry.example/acme/prod/api", nil, ""},
		{"scope", "registry.example/other/api", nil, "is not a repository that the policy governs"},
		{"rule:team", "team", []string{rules}, ""}, {"rule:team", "RULE_VIOLATED", []string{rules}, ""},
		{"rule:team", "RULE_FAILED", []string{rules}, "no exception excuses"},
		{"rule:team", "teem", []string{rules}, "is not what a rule is denied for: want team"},
	} {
		waiver := fmt.Sprintf("  exceptions: [{check: %q, subject: %s, owner: o, reason: r, expires: 2027-12-01}]", tt.check, tt.subject)
		got := strings.Join(lintAt(t, edited(t, append(tt.policy, waiver)...), "spec.exceptions[0].subject"), "\n")
		if tt.want == "" && got != "" || tt.want != "" && !strings.Contains(got, tt.want) {
			t.Errorf("%s %s %v: got %q, want %q", tt.check, tt.subject, tt.policy, got, tt.want)
		}
	}
}

// TestLintOfWhatIsNotAskedFor: an exception or a mode for a check that the policy does not make, or for platforms that
// it does not judge. An exception for a rule that the policy does not have does not load.
func TestLintOfWhatIsNotAskedFor(t *testing.T) {
	waiver := func(check, more string) string {
		return fmt.Sprintf("  exceptions: [{check: %q, subject: \"*\", %sowner: o, reason: r, expires: 2027-12-01}]", check, more)
	}

	for _, tt := range []struct {
		name  string
		lines []string
		path  string
		want  string
	}{
		{"an exception for the user", []string{"  user: {nonRoot: false}", waiver("user", "")}, "spec.exceptions[0].check", "does not ask for user"},
		{"a mode for the user", []string{"  user: {nonRoot: false}", "  checks: {user: warn}"}, "spec.checks.user", "does not ask for user"},
		{"a mode for a check that is made", []string{"  checks: {user: warn}"}, "spec.checks.user", ""},
		{"another platform", []string{"  platforms: [linux/amd64]", waiver("user", "platforms: [linux/arm64], ")}, "spec.exceptions[0].platforms",
			"the policy judges [linux/amd64] only"},
		{"a variant of the platform", []string{"  platforms: [linux/arm]", waiver("user", "platforms: [linux/arm/v6], ")}, "spec.exceptions[0].platforms", ""},
		{"all platforms", []string{waiver("user", "platforms: [linux/arm64], ")}, "spec.exceptions[0].platforms", ""},
	} {
		got := strings.Join(lintAt(t, edited(t, tt.lines...), tt.path), "\n")
		if tt.want == "" && got != "" || tt.want != "" && !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}

	for _, line := range []string{waiver("rule:nowhere", ""), "  checks: {\"rule:nowhere\": warn}"} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, line))})
		if err == nil || !strings.Contains(err.Error(), `"rule:nowhere" is not a check that can be excused`) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestPropertyLintIsRight: an exception of which lint says that it has no effect is never used, whatever the image.
func TestPropertyLintIsRight(t *testing.T) {
	flagged, used := 0, 0
	codes := attestor.Codes()
	frequent := slices.DeleteFunc(slices.Clone(codes), func(c attestor.CodeInfo) bool {
		return !slices.Contains([]attestor.Code{
			attestor.CodeUserRoot, attestor.CodeUserTooLow, attestor.CodeFixableSeverityExceeded, attestor.CodeUnfixableSeverityExceeded,
			attestor.CodeUnspecifiedSeverity, attestor.CodeKnownExploited, attestor.CodeEPSSExceeded, attestor.CodeInGracePeriod,
		}, c.Code)
	})

	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 17))
		d := newDraft(r)
		code := codes[r.IntN(len(codes))]
		check := pick(r, "base", "user", "vulnerabilities", "provenance", code.Check)
		if r.IntN(2) == 0 {
			code = frequent[r.IntN(len(frequent))]
			check = code.Check
		}
		if !slices.Contains([]string{"scope", "base", "user", "vulnerabilities", "provenance"}, check) || code.Code == attestor.CodeCVEBlocked {
			continue
		}

		d.exceptions = []string{fmt.Sprintf(`{id: probe, check: %s, subject: %s, owner: o, reason: r, expires: 2027-01-31}`, check, code.Code)}
		p := d.policy(t)
		odd := false

		for _, w := range setOf(t, string(p.Text())).Lint(today()) {
			odd = odd || strings.HasPrefix(w.Path, "spec.exceptions[0]") && strings.Contains(w.Message, "has no effect")
		}

		if odd {
			flagged++
		}

		for range 8 {
			for _, c := range p.Judge(randomEvidence(r, p)).Checks() {
				for _, e := range c.Exceptions {
					if e.ID != "probe" {
						continue
					}
					used++
					if odd {
						t.Fatalf("seed %d: lint says that the exception of %s for %s has no effect, and %+v used it", seed, check, code.Code, c)
					}
				}
			}
		}
	}

	if flagged < 40 || used < 40 {
		t.Errorf("the trial shows little: %d flagged, %d used", flagged, used)
	}
}
