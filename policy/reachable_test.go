package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// reachable lists the codes that a test of this policy says it can give.
func reachable(t *testing.T, text string) []attestor.Code {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "cases.yaml")
	for name, content := range map[string]string{
		filepath.Join(dir, "policy.yaml"): text,
		file: "apiVersion: attestor/v1\nkind: GatePolicyTest\npolicies: [policy.yaml]\ndate: 2026-11-20\n" +
			"cases: [{name: good, image: registry.example/acme/prod/api, want: {verdict: pass}}]\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	r, err := policy.Test(file)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(slices.Values(slices.Concat(r.Covered, r.Never)))
}

// TestReachableCodes: a test of policies names every code that they can refuse by
// and that no case gave.
func TestReachableCodes(t *testing.T) {
	want := []attestor.Code{
		"BASE_EVIDENCE_TOO_WEAK", "BASE_NOT_APPROVED", "BASE_OUTDATED", "BASE_UNSIGNED", "CVE_BLOCKED", "EPSS_EXCEEDED",
		"FIXABLE_SEVERITY_EXCEEDED", "GROUP_ROOT", "GROUP_UNRESOLVED", "IN_GRACE_PERIOD", "KNOWN_EXPLOITED",
		"MALICIOUS_PACKAGE", "OUT_OF_SCOPE", "SECRET_FOUND", "SECRET_UNKNOWN", "PROVENANCE_BUILDER", "PROVENANCE_LEVEL", "PROVENANCE_MISSING",
		"PROVENANCE_SOURCE", "SCAN_ARCHIVED", "SCAN_FAILED", "SCAN_INACTIVE", "SCAN_NOT_FOUND", "SCAN_NOT_OF_CHILD",
		"SCAN_PENDING", "SCAN_RUNNING", "SCAN_TOO_OLD", "SCAN_UNAVAILABLE", "SCAN_UNSUPPORTED",
		"UNFIXABLE_SEVERITY_EXCEEDED", "UNSPECIFIED_SEVERITY", "UPLOAD_TIME_UNKNOWN", "UPLOAD_TOO_OLD", "USER_NOT_NUMERIC",
		"USER_NOT_SET", "USER_ROOT",
	}
	got := reachable(t, strict)
	for _, code := range want {
		if !slices.Contains(got, code) {
			t.Errorf("%s is not named", code)
		}
	}
	for _, code := range []attestor.Code{"PLATFORM_NOT_ALLOWED", "RULE_VIOLATED", "EXCEPTION_EXPIRED", "USER_TOO_LOW", "FINDINGS_NOT_JUDGED"} {
		if slices.Contains(got, code) {
			t.Errorf("%s is named, though the settings exclude it", code)
		}
	}
}

// TestReachableCodesFollowTheSettings: each setting adds and removes the codes that
// it is about, and no others.
func TestReachableCodesFollowTheSettings(t *testing.T) {
	before := reachable(t, strict)
	codes := func(list ...attestor.Code) []attestor.Code { return list }
	tests := []struct {
		name       string
		lines      []string
		gone, come []attestor.Code
	}{
		{"platforms", []string{"  platforms: [linux/amd64]"}, codes("SCAN_NOT_OF_CHILD"), codes("PLATFORM_NOT_ALLOWED")},
		{"two platforms", []string{"  platforms: [linux/amd64, linux/arm64]"}, nil, codes("PLATFORM_NOT_ALLOWED")},
		{"an upload age only", []string{"  scope: {maxUploadAge: 1d}"}, codes("OUT_OF_SCOPE"), nil},
		{"directories only", []string{`  scope: {trustedDirectories: ["registry.example/acme/prod/**"]}`}, codes("UPLOAD_TIME_UNKNOWN", "UPLOAD_TOO_OLD"), nil},
		{"a scope that holds every image", []string{`  scope: {trustedDirectories: ["registry.example/acme/**"]}`},
			codes("OUT_OF_SCOPE", "UPLOAD_TIME_UNKNOWN", "UPLOAD_TOO_OLD"), nil},
		{"no base", []string{"    required: false"}, codes("BASE_EVIDENCE_TOO_WEAK", "BASE_NOT_APPROVED", "BASE_OUTDATED", "BASE_UNSIGNED"), nil},
		{"any proof of the base", []string{"    evidence: attested"}, codes("BASE_EVIDENCE_TOO_WEAK"), nil},
		{"unsigned bases", []string{"      - {name: static, repository: registry.example/base/static, tags: [latest]}"}, codes("BASE_UNSIGNED"), nil},
		{"no user", []string{"  user: {nonRoot: false}"}, codes("GROUP_ROOT", "GROUP_UNRESOLVED", "USER_NOT_NUMERIC", "USER_NOT_SET", "USER_ROOT"), nil},
		{"users by name", []string{"  user: {nonRoot: true, names: resolve}"}, codes("USER_NOT_NUMERIC"), nil},
		{"a lowest uid", []string{"  user: {nonRoot: true, minimumUID: 2}"}, nil, codes("USER_TOO_LOW")},
		{"any group", []string{"  user: {nonRoot: true, rootGroup: allow}"}, codes("GROUP_ROOT", "GROUP_UNRESOLVED"), nil},
		{"a scan is not required", []string{"    scan: {required: false, continuous: required, maxAge: 1d}"},
			codes("SCAN_FAILED", "SCAN_NOT_FOUND", "SCAN_NOT_OF_CHILD", "SCAN_PENDING", "SCAN_RUNNING",
				"SCAN_UNSUPPORTED"), nil},
		{"unsupported images", []string{"    scan: {onUnsupported: allow, maxAge: 1d}"}, codes("SCAN_UNSUPPORTED"), nil},
		{"any finished scan", []string{"    scan: {continuous: optional}"}, codes("SCAN_INACTIVE", "SCAN_TOO_OLD"), nil},
		{"package types", []string{"    scan: {maxAge: 1d, packageTypes: [OS]}"}, nil, codes("FINDINGS_NOT_JUDGED", "SCAN_PACKAGE_TYPE_MISSING")},
		{"another scanner", []string{"    scan: {maxAge: 1d, trusted: [projects/p/notes/n]}"}, nil, codes("SCAN_PACKAGE_TYPE_MISSING")},
		{"any fixable finding", []string{"    maximumFixableSeverity: ALLOW_ALL"}, codes("FIXABLE_SEVERITY_EXCEEDED"), nil},
		{"any unfixable finding", []string{"    maximumUnfixableSeverity: ALLOW_ALL"}, codes("UNFIXABLE_SEVERITY_EXCEEDED"), nil},
		{"findings without severity", []string{"    unspecifiedSeverity: allow"}, codes("UNSPECIFIED_SEVERITY"), nil},
		{"nothing blocked", []string{"    blockedCves: []"}, codes("CVE_BLOCKED"), nil},
		{"exploits", []string{"    knownExploited: allow"}, codes("KNOWN_EXPLOITED"), nil},
		{"any builder and source", []string{"  provenance: {slsaLevel: 1}"}, codes("PROVENANCE_BUILDER", "PROVENANCE_SOURCE"), nil},
		{"any level", []string{"  provenance: {builders: [b], sources: [\"https://git.example/*\"]}"}, codes("PROVENANCE_LEVEL"), nil},
		{"a system that is served", []string{"    endOfLife: deny"}, nil, codes("SYSTEM_UNREADABLE")},
		{"a system of any age", []string{"    endOfLife: ignore"}, codes("END_OF_LIFE"), nil},
		{"no secrets", []string{"  secrets: {found: ignore}"}, codes("SECRET_FOUND", "SECRET_UNKNOWN"), nil},
		{"secrets that warn", []string{"  secrets: {found: warn}", "  unknownFindings: ignore"}, codes("UNKNOWN_FINDING"), nil},
		{"findings of later versions", []string{"  unknownFindings: ignore"}, codes("UNKNOWN_FINDING"), nil},
		{"documents about findings", []string{"    vex: {accept: [fixed], sources: [" + ours + "]}"}, nil,
			codes("VEX_UNAVAILABLE")},
		{"statements of a project", []string{"    vex: {accept: [fixed], projects: [acme-security]}"}, nil, nil},
		{"a rule", []string{"  rules: [{name: r, expression: 'image.user == \"x\"', message: m}]"}, nil, codes("RULE_VIOLATED")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := reachable(t, edited(t, tt.lines...))
			missing := func(from []attestor.Code) func(attestor.Code) bool {
				return func(c attestor.Code) bool { return slices.Contains(from, c) }
			}
			gone := slices.DeleteFunc(slices.Clone(before), missing(after))
			come := slices.DeleteFunc(slices.Clone(after), missing(before))
			if !slices.Equal(gone, tt.gone) || !slices.Equal(come, tt.come) {
				t.Errorf("gone %v, new %v; want %v and %v", gone, come, tt.gone, tt.come)
			}
		})
	}
}

// TestCodesThatCannotRefuse: an exception for a code that the settings exclude has
// no effect; one for a code that evidence can bring along has.
func TestCodesThatCannotRefuse(t *testing.T) {
	tests := []struct {
		check   string
		code    attestor.Code
		lines   []string
		effects bool
	}{
		{"scope", "UPLOAD_TOO_OLD", nil, true},
		{"scope", "UPLOAD_TOO_OLD", []string{`  scope: {trustedDirectories: ["registry.example/acme/prod/**"]}`}, false},
		{"scope", "OUT_OF_SCOPE", nil, true},
		{"scope", "OUT_OF_SCOPE", []string{`  scope: {trustedDirectories: ["registry.example/acme/**"]}`}, false},
		{"user", "USER_TOO_LOW", []string{"  user: {nonRoot: true, minimumUID: 2}"}, true},
		{"user", "USER_TOO_LOW", nil, false},
		{"user", "USER_NOT_NUMERIC", []string{"  user: {nonRoot: true, names: resolve}"}, true}, // a name that is in no passwd
		{"base", "BASE_UNSIGNED", []string{"      - {name: static, repository: registry.example/base/static, tags: [latest]}"}, true},
		{"vulnerabilities", "SCAN_INACTIVE", nil, true},
		{"vulnerabilities", "SCAN_INACTIVE", []string{"    scan: {continuous: optional, maxAge: 1d}"}, false},
		{"vulnerabilities", "SCAN_TOO_OLD", []string{"    scan: {required: true}"}, false},
		{"vulnerabilities", "FIXABLE_SEVERITY_EXCEEDED", []string{"    maximumFixableSeverity: ALLOW_ALL"}, false},
		{"vulnerabilities", "FIXABLE_SEVERITY_EXCEEDED", []string{"    maximumFixableSeverity: ALLOW_ALL",
			"    baseFindings: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW}"}, true},
		{"vulnerabilities", "UNFIXABLE_SEVERITY_EXCEEDED", []string{"    maximumUnfixableSeverity: ALLOW_ALL"}, false},
		{"vulnerabilities", "UNSPECIFIED_SEVERITY", []string{"    unspecifiedSeverity: allow"}, false},
		{"vulnerabilities", "IN_GRACE_PERIOD", []string{"    gracePeriod: {HIGH: 1d}"}, true},
		{"provenance", "PROVENANCE_LEVEL", []string{"  provenance: {builders: [b]}"}, false},
		{"provenance", "PROVENANCE_BUILDER", []string{"  provenance: {slsaLevel: 1}"}, false},
		{"provenance", "PROVENANCE_SOURCE", []string{"  provenance: {slsaLevel: 1}"}, false},
		{"provenance", "PROVENANCE_SOURCE", nil, true},
	}
	for _, tt := range tests {
		waiver := "  exceptions: [{check: " + tt.check + ", subject: " + string(tt.code) + ", owner: o, reason: r, expires: 2027-12-01}]"
		got := lintAt(t, edited(t, append(tt.lines, waiver)...), "spec.exceptions[0].subject")
		if (len(got) == 0) != tt.effects {
			t.Errorf("%s with %v: %v, want an effect: %t", tt.code, tt.lines, got, tt.effects)
		}
	}
}
