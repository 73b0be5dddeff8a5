package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/policy"
)

func TestLint(t *testing.T) {
	const waiver = `  exceptions: [{check: %s, owner: o, reason: r, expires: %s}]`
	base := func(more string) string {
		return strings.Replace(strict, "      - {name: static, repository: registry.example/base/static, "+
			"tags: [latest], maxBehind: 14d, signedBy: {key: /keys/base.pub}}",
			"      - {name: static, repository: registry.example/base/static, tags: [latest], "+more+"}", 1)
	}

	without := func(field, text string) string {
		lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.HasPrefix(l, field) })
		return strings.Join(lines, "\n")
	}

	for _, tt := range []struct{ name, text, want string }{
		{"a base without signature", strict, "java has no signedBy"},
		{"a base past its end of life", base("endOfLife: 2026-11-01, signedBy: {key: /k}"), "static is past its end of life since 2026-11-01"},
		{"a base near its end of life", base("endOfLife: 2026-12-01, signedBy: {key: /k}"), "static comes to its end of life on 2026-12-01"},
		{"a base that is long behind", base("maxBehind: 180d, signedBy: {key: /k}"), "allows 180d without the publisher's fixes"},
		{"anybody's signature", base(`signedBy: {keyless: {issuer: i, subjectRegexp: ".*"}}`), "matches anybody"},
		{"bases without effect", edited(t, "    required: false"), "approved bases have no effect"},
		{"a directory of other images", edited(t, `  scope: {trustedDirectories: ["registry.example/other/**"]}`), "holds none of the images"},
		{"a scope that repeats the images", edited(t, `  scope: {trustedDirectories: ["registry.example/acme/**"]}`), "it can refuse nothing"},
		{"limits without a scan", edited(t, "    scan: {required: false}"), "passes whatever the limits are"},
		{"a scan of any age", edited(t, "    scan: {continuous: optional}"), "a scan of any age counts"},
		{"grace without effect", edited(t, "    gracePeriod: {LOW: 7d}"), "LOW is within both limits"},
		{"EPSS without effect", edited(t, "    maximumEPSS: 1"), "no probability is higher than 1"},
		{"any builder", edited(t, `  provenance: {slsaLevel: 3}`), "names no builders"},
		{"an exception that has expired", edited(t, strings.NewReplacer("%s, o", "user, subject: USER_ROOT, o", "%s}",
			"2026-11-19}").Replace(waiver)), "ended on 2026-11-19 and counts as absent"},
		{"an exception about to expire", edited(t, strings.NewReplacer("%s, o", "user, subject: USER_ROOT, o", "%s}",
			"2026-12-01}").Replace(waiver)), "ends with 2026-12-01"},
		{"an exception that is too long", edited(t, "  exceptionMaxLifetime: 30d", strings.NewReplacer("%s, o",
			"user, subject: USER_ROOT, o", "%s}", "2027-12-01}").Replace(waiver)), "further away than the 30d"},
		{"an exception for everything", edited(t, strings.NewReplacer("%s, o", `user, subject: "*", o`, "%s}",
			"2027-12-01}").Replace(waiver)), "excuses whatever user refuses"},
		{"an exception for other images", edited(t, strings.NewReplacer("%s, o",
			`user, subject: USER_ROOT, images: ["other.example/x"], o`, "%s}", "2027-12-01}").Replace(waiver)),
			"holds none of the images"},
		{"an exception without effect", edited(t, "  user: {nonRoot: false}", strings.NewReplacer("%s, o",
			"user, subject: USER_ROOT, o", "%s}", "2027-12-01}").Replace(waiver)), "does not ask for user"},
		{"a rule that can never fire", edited(t, `  rules: [{name: r, expression: '1 + 1 == 2', message: m}]`), "rule r can never fire"},
		{"a rule that depends on nothing", edited(t, `  rules: [{name: r, expression: 'true || image.user == "x"', message: m}]`), "rule r can never fire"},
		{"a rule that always fires", edited(t, `  rules: [{name: r, expression: '"a" == "b"', message: m}]`), "rule r always fires"},
		{"a rule about findings, where no scan is required", edited(t, "    scan: {required: false}",
			`  rules: [{name: r, expression: 'scan.findings.all(f, f.severity != "HIGH")', message: m}]`),
			"rule r takes an image without a scan for one without findings"},
		{"a rule about findings, where an unsupported image passes", edited(t, "    scan: {onUnsupported: warn}",
			`  rules: [{name: r, expression: 'size(scan.secrets) == 0', message: m}]`), `test scan.state == "complete"`},
		{"a rule about provenance that nobody looks for", without("  provenance:", edited(t,
			`  rules: [{name: r, expression: 'provenance.all(p, p.slsaLevel > 2)', message: m}]`)), "which is always empty"},
		{"a rule about an upload time that nobody looks for", without("  scope:", edited(t,
			`  rules: [{name: r, expression: 'time - subject.uploaded < duration("24h")', message: m}]`)),
			"which is always year 1"},
		{"break-glass for any reason", edited(t, "  breakGlass: {allowed: true}"), "any reason will do"},
		{"break-glass for ever", edited(t, "  breakGlass: {allowed: true}"), "does not expire"},
		{"break-glass that cannot be told apart", edited(t, "  breakGlass: {allowed: true}"), "names no attestors of its own"},
		{
			"break-glass by the attestors of a pass", edited(t, "  breakGlass: {allowed: true, "+
				"attestors: [projects/s/attestors/own, projects/acme-security/attestors/gate]}"),
			"names every attestor of a pass",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := setOf(t, tt.text)
			var all []string

			for _, d := range set.Lint(today()) {
				all = append(all, d.String())
				if d.Line < 1 || d.File != "new.yaml" {
					t.Errorf("without its place: %+v", d)
				}
			}

			if !strings.Contains(strings.Join(all, "\n"), tt.want) {
				t.Errorf("%q is not said:\n%s", tt.want, strings.Join(all, "\n"))
			}
		})
	}

	for _, lines := range [][]string{
		{`  rules: [{name: r, expression: 'image.user == "x"', message: m}]`},
		{`  rules: [{name: r, expression: 'scan.findings.all(f, f.severity != "HIGH")', message: m}]`},
		{"    scan: {required: false}",
			`  rules: [{name: r, expression: 'scan.state == "complete" && size(scan.findings) == 0', message: m}]`},
		{"  provenance: {slsaLevel: 3}", `  rules: [{name: r, expression: 'provenance.all(p, p.slsaLevel > 2)', message: m}]`},
		{"  scope: {maxUploadAge: 2d}",
			`  rules: [{name: r, expression: 'time - subject.uploaded < duration("24h")', message: m}]`},
	} {
		t.Run("a good rule is not odd", func(t *testing.T) {
			for _, d := range setOf(t, edited(t, lines...)).Lint(today()) {
				if strings.Contains(d.Path, "rules") {
					t.Error(d)
				}
			}
		})
	}

	t.Run("the zero set", func(t *testing.T) {
		if d := (*policy.Set)(nil).Lint(time.Time{}); len(d) > 0 {
			t.Error(d)
		}
	})
}
