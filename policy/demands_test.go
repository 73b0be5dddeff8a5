package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDemands: a reader of `attestor policy explain` learns everything that the
// policy asks for, in the order of its document.
func TestDemands(t *testing.T) {
	want := []string{
		"platforms: every runnable one is judged",
		"scope: in one of [registry.example/acme/prod/**]",
		"scope: uploaded at most 30d ago",
		"base: one of static, java, proven by diffids-verified or stronger",
		"user: uid 1 or higher, names: refuse, group 0: warn",
		"vulnerabilities: a finished scan that is kept up to date, at most 30d old",
		"vulnerabilities: up to MEDIUM where a fix exists, up to HIGH where none does, without severity: deny",
		"vulnerabilities: none of CVE-2021-44228",
		"vulnerabilities known to be exploited: deny",
		"vulnerabilities: excused by VEX statements (not_affected, fixed) of acme-security",
		"vulnerabilities: EPSS at most 0.5",
		"vulnerabilities: HIGH only warns for 7d after its publication",
		"provenance: SLSA level 3 or higher, builders https://builder.example/1, sources https://git.example/acme/*",
		"attested by: projects/acme-security/attestors/gate",
	}
	about := func(s string) string { what, _, _ := strings.Cut(s, ":"); return what }
	got := slices.DeleteFunc(with(t).Demands(), func(s string) bool {
		return !slices.ContainsFunc(want, func(w string) bool { return about(w) == about(s) }) // a check of its own tests
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestDemandsOfOtherSettings: what a setting changes is said, and what is not
// asked for is either named as such or left out.
func TestDemandsOfOtherSettings(t *testing.T) {
	waiver := "  exceptions: [{check: user, subject: USER_ROOT, owner: o, reason: r, expires: 2027-12-01}]"
	tests := []struct {
		name  string
		lines []string
		about string   // the beginning of the sentences that the settings are about
		want  []string // all that begin so
	}{
		{"platforms", []string{"  platforms: [linux/amd64, linux/arm64]"}, "platforms:",
			[]string{"platforms: only linux/amd64, linux/arm64 are judged and attested"}},
		{"a dry run", []string{"  mode: dryRun"}, "nothing yet", []string{
			"nothing yet: its mode is dryRun, so that it judges and records, refuses nothing and signs nothing"}},
		{"enforced", nil, "nothing yet", nil},
		{"no scope", []string{"  scope: {maxUploadAge: 2d}"}, "scope:", []string{"scope: uploaded at most 2d ago"}},
		{"directories only",
			[]string{`  scope: {trustedDirectories: ["registry.example/acme/**", "registry.example/x"]}`}, "scope:",
			[]string{"scope: in one of [registry.example/acme/** registry.example/x]"}},
		{"no base", []string{"    required: false"}, "base:", []string{"base: not judged"}},
		{"exact layers", []string{"    evidence: layers-exact"}, "base:", []string{"base: one of static, java, proven by layers-exact or stronger"}},
		{"no user", []string{"  user: {nonRoot: false}"}, "user:", []string{"user: not judged"}},
		{"a user by name", []string{"  user: {nonRoot: true, names: resolve, rootGroup: deny, minimumUID: 1000}"},
			"user:", []string{"user: uid 1000 or higher, names: resolve, group 0: deny"}},
		{"no scan", []string{"    scan: {required: false, maxAge: 0}"}, "vulnerabilities: a ", []string{"vulnerabilities: a scan is not required"}},
		{"any finished scan", []string{"    scan: {required: true, continuous: optional}"}, "vulnerabilities: a ",
			[]string{"vulnerabilities: a finished scan"}},
		{"an aged scan", []string{"    scan: {required: true, continuous: optional, maxAge: 1d}"},
			"vulnerabilities: a ", []string{"vulnerabilities: a finished scan, at most 1d old"}},
		{"limits for the base", []string{"    baseFindings: {maximumFixableSeverity: HIGH, " +
			"maximumUnfixableSeverity: CRITICAL}"}, "vulnerabilities of the base",
			[]string{"vulnerabilities of the base: up to HIGH where a fix exists, up to CRITICAL where none does"}},
		{"no limits for the base", nil, "vulnerabilities of the base", nil},
		{"a system that is served", []string{"    endOfLife: deny"}, "vulnerabilities: deny",
			[]string{"vulnerabilities: deny where the operating system gets no more fixes"}},
		{"a system of any age", []string{"    endOfLife: ignore"}, "vulnerabilities: ignore", nil},
		{"nothing blocked", []string{"    blockedCves: []"}, "vulnerabilities: none", nil},
		{"exploits allowed", []string{"    knownExploited: allow"}, "vulnerabilities known", nil},
		{"exploits warned of", []string{"    knownExploited: warn"}, "vulnerabilities known", []string{"vulnerabilities known to be exploited: warn"}},
		{"another EPSS", []string{"    maximumEPSS: 0.25"}, "vulnerabilities: EPSS", []string{"vulnerabilities: EPSS at most 0.25"}},
		{"two graces, the one", []string{"    gracePeriod: {CRITICAL: 1d, HIGH: 12h}"}, "vulnerabilities: CRITICAL",
			[]string{"vulnerabilities: CRITICAL only warns for 1d after its publication"}},
		{"two graces, the other", []string{"    gracePeriod: {CRITICAL: 1d, HIGH: 12h}"}, "vulnerabilities: HIGH",
			[]string{"vulnerabilities: HIGH only warns for 12h after its publication"}},
		{"no grace", []string{"    gracePeriod: {CRITICAL: 1d, HIGH: 0d}"}, "vulnerabilities: HIGH", nil},
		{"no secrets", []string{"  secrets: {found: ignore}"}, "secrets:", []string{"secrets: not judged"}},
		{"secrets", []string{"  secrets: {found: deny}"}, "secrets:", []string{"secrets: deny where one is reported that is not known to be invalid"}},
		{"secrets of one status", []string{"  secrets: {found: warn, statuses: [VALID]}"}, "secrets:",
			[]string{"secrets: warn where one is reported that is of status VALID"}},
		{"secrets of two", []string{"  secrets: {found: warn, statuses: [VALID, UNKNOWN]}"}, "secrets:",
			[]string{"secrets: warn where one is reported that is of status VALID, UNKNOWN"}},
		{"any builder and source", []string{"  provenance: {slsaLevel: 2}"}, "provenance:",
			[]string{"provenance: SLSA level 2 or higher, builders any, sources any"}},
		{"two builders", []string{"  provenance: {slsaLevel: 2, builders: [a, b]}"}, "provenance:",
			[]string{"provenance: SLSA level 2 or higher, builders a, b, sources any"}},
		{"statements of signers", []string{"    vex: {accept: [fixed], projects: [acme-one], sources: [" + ours + "]}"},
			"vulnerabilities: excused", []string{"vulnerabilities: excused by VEX statements (fixed) of acme-one, ours"}},
		{"statements in an order", []string{
			"    vex: {accept: [fixed], projects: [acme-one], sources: [" + ours + "], order: [ours, acme-one]}"},
			"vulnerabilities: excused", []string{
				"vulnerabilities: excused by VEX statements (fixed) of acme-one, ours, in the order ours, acme-one"}},
		{"an order of one", []string{"    vex: {accept: [fixed], projects: [acme-one], order: [acme-one]}"},
			"vulnerabilities: excused", []string{
				"vulnerabilities: excused by VEX statements (fixed) of acme-one, in the order acme-one"}},
		{"an earlier stage", []string{staged}, "or a verification", []string{
			"or a verification summary by https://stage.example/v with SCANNED"}},
		{"no earlier stage", nil, "or a verification", nil},
		{"a workflow", []string{calling("3", "refs: [refs/tags/v1, refs/tags/v2], commits: ['"+strings.Repeat("1", 40)+"']")},
			"level 3:", []string{"level 3: the reusable workflow " + vetted + " at refs/tags/v1, refs/tags/v2, " +
				strings.Repeat("1", 40)}},
		{"no workflow", nil, "level 3:", nil},
		{"a rule", []string{`  rules: [{name: r, expression: 'image.user == "x"', message: m}]`}, "rule ", []string{`rule r: image.user == "x"`}},
		{"a check that warns", []string{"  checks: {user: warn, base: enforce}"}, "user only", []string{"user only warns"}},
		{"a check that refuses", []string{"  checks: {user: warn, base: enforce}"}, "base only", nil},
		{"an exception", []string{waiver}, "exceptions:", []string{"exceptions: 1"}},
		{"no exception", nil, "exceptions:", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := with(t, tt.lines...).Demands()
			got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, tt.about) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}

	t.Run("the least", func(t *testing.T) {
		got := one(t, minimal).Demands()
		for _, about := range []string{"scope:", "provenance:", "exceptions:", "vulnerabilities: EPSS", "vulnerabilities: none", "vulnerabilities known"} {
			if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, about) }) {
				t.Errorf("%q is asked for: %q", about, got)
			}
		}
	})
}
