package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/policy"
)

// TestSettingsThatAreRefused: a setting that means nothing, or that could be read in
// two ways, does not load; its twin beside it does.
func TestSettingsThatAreRefused(t *testing.T) {
	const end = "owner: o, reason: r, expires: 2026-12-31}]"
	const empty = "the list is empty; name something, or leave the field out"
	base := func(approved string) func(string) string {
		return func(text string) string {
			i, j := strings.Index(text, "      - {name: static"), strings.Index(text, "  user:")
			return text[:i] + approved + "\n" + text[j:]
		}
	}
	lines := func(list ...string) func(string) string { return func(string) string { return edited(t, list...) } }
	tests := []struct {
		name string
		edit func(string) string
		path string
		want []string // of that path; none where the setting is allowed
	}{
		{"an empty list of bases", func(text string) string {
			return base("")(strings.Replace(text, "    approved:", "    approved: []", 1))
		}, "spec.base.approved", []string{empty}},
		{"an empty list of bases is one fault", func(text string) string {
			return base("")(strings.Replace(text, "    approved:", "    approved: []", 1))
		}, "spec.base.required", nil},
		{"bases without names", base("      - {repository: r.example/a, tags: [t]}\n" +
			"      - {repository: r.example/b, tags: [t]}"), "spec.base.approved[1].name", nil},
		{"two bases of one name", base("      - {name: a, repository: r.example/a, tags: [t]}\n      - {name: a, " +
			"repository: r.example/b, tags: [t]}"), "spec.base.approved[1].name", []string{`duplicate "a"`}},
		{"a base without repository", base("      - {name: a, tags: [t]}"), "spec.base.approved[0].repository", nil},
		{"an empty list of digests", base("      - {name: a, repository: r.example/a, digests: []}"), "spec.base.approved[0].digests", []string{empty}},
		{"an empty list of digests is one fault", base("      - {name: a, repository: r.example/a, digests: []}"), "spec.base.approved[0]", nil},
		{"neither tags nor digests", base("      - {name: a, repository: r.example/a}"), "spec.base.approved[0]",
			[]string{"has neither tags nor digests, so that nothing would be approved"}},

		{"a negative level", lines("  provenance: {slsaLevel: -1, builders: [b]}"), "spec.provenance.slsaLevel",
			[]string{"-1 is not a SLSA level: want 0 to 4"}},
		{"the highest level", lines("  provenance: {slsaLevel: 4}"), "spec.provenance.slsaLevel", nil},
		{"no builders", lines("  provenance: {slsaLevel: 1, builders: []}"), "spec.provenance.builders", []string{empty}},
		{"no sources", lines("  provenance: {slsaLevel: 1, sources: []}"), "spec.provenance.sources", []string{empty}},
		{"a builder without a name", lines(`  provenance: {builders: [a, ""]}`), "spec.provenance.builders[1]", []string{"is empty"}},
		{"builders alone", lines("  provenance: {builders: [b]}"), "spec.provenance", nil},
		{"nothing", lines("  provenance: {signedBy: {key: /k}}"), "spec.provenance",
			[]string{"demands nothing: give slsaLevel, builders or sources, or leave it out"}},
		{"a key that is empty is one fault", lines(`  provenance: {slsaLevel: 1, signedBy: {key: ""}}`), "spec.provenance.signedBy", nil},
		{"a key that is empty", lines(`  provenance: {slsaLevel: 1, signedBy: {key: ""}}`), "spec.provenance.signedBy.key", []string{"is empty"}},
		{"anybody's provenance", lines("  provenance: {slsaLevel: 1, signedBy: {}}"), "spec.provenance.signedBy",
			[]string{"has neither key nor keyless, so that anybody's signature would do"}},
		{"a source without a scheme", lines("  provenance: {sources: [git]}"), "spec.provenance.sources[0]",
			[]string{`"git" is not a source pattern: want a scheme, such as https://github.com/acme/*`}},
		{"a source with an empty scheme", lines(`  provenance: {sources: ["://github.com/acme/*"]}`),
			"spec.provenance.sources[0]", []string{
				`"://github.com/acme/*" is not a source pattern: want a scheme, such as https://github.com/acme/*`}},
		{"a source with a scheme of two", lines(`  provenance: {sources: ["git+https://github.com/acme/*"]}`),
			"spec.provenance.sources[0]", []string{`"git+https://github.com/acme/*" is not a source pattern: ` +
				`want a scheme, such as https://github.com/acme/*`}},
		{"a source that is no pattern", lines(`  provenance: {sources: ["https://github.com/acme/a**"]}`),
			"spec.provenance.sources[0]", []string{`"https://github.com/acme/a**" is not a source pattern: ` +
				`pattern "github.com/acme/a**": "**" must be a whole path segment`}},

		{"a uid beside a missing nonRoot", lines("  user: {minimumUID: 0}"), "spec.user.minimumUID", []string{"0 is not allowed: want 1 to 2147483647"}},
		{"the highest uid", lines("  user: {nonRoot: true, minimumUID: 2147483647}"), "spec.user.minimumUID", nil},
		{"a uid that is too high", lines("  user: {nonRoot: true, minimumUID: 2147483648}"), "spec.user.minimumUID",
			[]string{"2147483648 is not allowed: want 1 to 2147483647"}},
		{"names of a user that is not judged", lines("  user: {nonRoot: false, names: resolve}"), "spec.user.names",
			[]string{"contradicts nonRoot: false, with which the user is not judged"}},
		{"a group that is not judged", lines("  user: {nonRoot: false, rootGroup: deny}"), "spec.user.rootGroup",
			[]string{"contradicts nonRoot: false, with which the user is not judged"}},
		{"settings that ask for nothing of it", lines("  user: {nonRoot: false, names: refuse, rootGroup: warn, minimumUID: 1}"), "spec.user.names", nil},

		{"a negative probability", lines("    maximumEPSS: -0.1"), "spec.vulnerabilities.maximumEPSS", []string{"-0.1 is not a probability: want 0 to 1"}},
		{"the least probability", lines("    maximumEPSS: 0"), "spec.vulnerabilities.maximumEPSS", nil},
		{"no grace", lines("    gracePeriod: {}"), "spec.vulnerabilities.gracePeriod", []string{empty}},
		{"findings of a base that is not proven", lines("    required: false", "    baseFindings: "+
			"{maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW}"), "spec.vulnerabilities.baseFindings",
			[]string{"contradicts base.required: false: what is the base's is known only where a base is proven"}},
		{"findings of a base", lines("    baseFindings: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW}"),
			"spec.vulnerabilities.baseFindings", nil},
		{"no VEX status", lines("    vex: {accept: [], projects: [acme]}"), "spec.vulnerabilities.vex.accept", []string{empty}},
		{"no VEX project", lines("    vex: {accept: [fixed], projects: []}"), "spec.vulnerabilities.vex.projects", []string{empty}},
		{"an exception for what is blocked, by its code", lines(
			"  exceptions: [{check: vulnerabilities, subject: CVE_BLOCKED, " + end), "spec.exceptions[0].subject",
			[]string{"CVE_BLOCKED contradicts blockedCves, which no exception excuses"}},
		{"another check's exception", lines("  exceptions: [{check: user, subject: CVE-2021-44228, " + end), "spec.exceptions[0].subject", nil},
		{"an allowed id without packages", lines("    allowedCves: [{id: CVE-1-1, packages: [], " + end),
			"spec.vulnerabilities.allowedCves[0].packages", []string{empty}},
		{"an allowed id in a package without a name",
			lines(`    allowedCves: [{id: CVE-1-1, packages: [a, " "], ` + end),
			"spec.vulnerabilities.allowedCves[0].packages[1]", []string{"is empty"}},
		{"an allowed id without images", lines("    allowedCves: [{id: CVE-1-1, images: [], " + end),
			"spec.vulnerabilities.allowedCves[0].images", []string{empty}},
		{"an allowed id without an owner", lines(`    allowedCves: [{id: CVE-1-1, owner: "", reason: r, ` +
			`expires: 2026-12-31}]`), "spec.vulnerabilities.allowedCves[0].owner", []string{"is empty"}},
		{"an allowed id without a reason", lines(`    allowedCves: [{id: CVE-1-1, owner: o, reason: "", ` +
			`expires: 2026-12-31}]`), "spec.vulnerabilities.allowedCves[0].reason", []string{"is empty"}},
		{"an invalid project", lines("    scan: {projects: [UPPER]}"), "spec.vulnerabilities.scan.projects[0]",
			[]string{`"UPPER" is malformed: want a Google Cloud project id`}},
		{"a package type without a name", lines(`    scan: {packageTypes: [OS, ""]}`),
			"spec.vulnerabilities.scan.packageTypes[1]",
			[]string{`"" is malformed: want the scanner's words, such as OS, GO, MAVEN, NPM, PYPI`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := []string{}
			_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(tt.edit(strict))})
			faults, _ := errors.AsType[policy.Errors](err)
			for _, f := range faults {
				if f.Path == tt.path {
					got = append(got, f.Message)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(append([]string{}, tt.want...), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

// TestLintIsSilent: what has an effect, or is not far from usual, is not called odd.
func TestLintIsSilent(t *testing.T) {
	const waiver = "  exceptions: [{check: %s, owner: o, reason: r, expires: 2027-12-01}]"
	static := func(more string) string {
		return strings.Replace(strict, "tags: [latest], maxBehind: 14d, signedBy: {key: /keys/base.pub}", "tags: [latest], "+more+"signedBy: {key: /k}", 1)
	}
	oneBase := strings.Replace(edited(t, "    required: false"), "      - {name: static", "      #", 1)
	tests := []struct {
		name, text, path string
		odd              string // part of the one warning; "" for none
	}{
		{"one base without effect", oneBase, "spec.base.required", "approved bases have no effect"},
		{"ninety days behind", static("maxBehind: 90d, "), "spec.base.approved[0].maxBehind", ""},
		{"more than ninety days behind", static("maxBehind: 91d, "), "spec.base.approved[0].maxBehind", "which is long"},
		{"an end of life in a year", static("endOfLife: 2027-11-20, "), "spec.base.approved[0].endOfLife", ""},
		{"no scan, and no limit", edited(t, "    scan: {required: false}", "    maximumFixableSeverity: ALLOW_ALL",
			"    maximumUnfixableSeverity: ALLOW_ALL"), "spec.vulnerabilities.scan.required", ""},
		{"no scan, and a limit", edited(t, "    scan: {required: false}", "    maximumUnfixableSeverity: ALLOW_ALL"),
			"spec.vulnerabilities.scan.required", "never scanned"},
		{"no scan, and the other limit", edited(t, "    scan: {required: false}",
			"    maximumFixableSeverity: ALLOW_ALL"), "spec.vulnerabilities.scan.required", "never scanned"},
		{"grace for what has no fix", edited(t, "    maximumUnfixableSeverity: MINIMAL", "    gracePeriod: {LOW: 7d}"),
			"spec.vulnerabilities.gracePeriod.LOW", ""},
		{"grace for the base",
			edited(t, "    baseFindings: {maximumFixableSeverity: BLOCK_ALL, maximumUnfixableSeverity: BLOCK_ALL}",
				"    gracePeriod: {LOW: 7d}"), "spec.vulnerabilities.gracePeriod.LOW", ""},
		{
			"break-glass by an attestor of its own", edited(t, "  breakGlass: {allowed: true, attestors: [projects/s/attestors/own]}"),
			"spec.breakGlass.attestors", "",
		},
		{"a scan of a limited age", edited(t, "    scan: {continuous: optional, maxAge: 30d}"), "spec.vulnerabilities.scan.continuous", ""},
		{"another check's exception for malware", edited(t, strings.Replace(waiver, "%s", "user, subject: MAL-2025-1", 1)), "spec.exceptions[0].subject", ""},
		{"an exception for malware by its id",
			edited(t, strings.Replace(waiver, "%s", "vulnerabilities, subject: MAL-2025-1", 1)),
			"spec.exceptions[0].subject", "no effect on a malicious package"},
		{"an exception for secrets that are not judged", edited(t, "  secrets: {found: ignore}", strings.Replace(waiver,
			"%s", "secrets, subject: GCP_API_KEY", 1)), "spec.exceptions[0].check", "does not ask for secrets"},
		{"an exception for a kind of secret", edited(t, strings.Replace(waiver, "%s", "secrets, subject: GCP_API_KEY", 1)), "spec.exceptions[0].subject", ""},
		{"an exception for secrets by another check's code", edited(t, strings.Replace(waiver, "%s",
			"secrets, subject: USER_ROOT", 1)), "spec.exceptions[0].subject", "USER_ROOT is a reason of user"},
		{"a limit for a system of any age", edited(t, "    endOfLife: ignore"), "spec.vulnerabilities.endOfLife", "is ignore"},
		{"a limit for a system that is served", edited(t, "    endOfLife: deny"), "spec.vulnerabilities.endOfLife", ""},
		{"a remark's code", edited(t, strings.Replace(waiver, "%s", "user, subject: USER_LIMITS", 1)), "spec.exceptions[0].subject", "refuses nothing"},
		{"anybody's provenance", edited(t,
			`  provenance: {slsaLevel: 1, builders: [b], signedBy: {keyless: {issuer: i, subjectRegexp: ".*"}}}`),
			"spec.provenance.signedBy.keyless.subjectRegexp", "matches anybody"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lintAt(t, tt.text, tt.path)
			if len(got) > 0 != (tt.odd != "") || !strings.Contains(strings.Join(got, "\n"), tt.odd) {
				t.Errorf("%q, want %q", got, tt.odd)
			}
		})
	}

	t.Run("an end of life in exactly ninety days", func(t *testing.T) {
		now := today().Truncate(24 * time.Hour)
		var all []string
		for _, d := range setOf(t, static("endOfLife: 2027-02-18, ")).Lint(now) {
			all = append(all, d.Message)
		}
		if !strings.Contains(strings.Join(all, "\n"), "comes to its end of life on 2027-02-18") {
			t.Errorf("%q", all)
		}
	})
}
