package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// runCases writes the strict policy and a file of cases, and runs them.
func runCases(t *testing.T, cases string) (policy.CaseReport, error) {
	t.Helper()
	dir := t.TempDir()

	for name, text := range map[string]string{"strict.yaml": strict, "strict_test.yaml": "apiVersion: attestor/v1\n" +
		"kind: GatePolicyTest\npolicies: [strict.yaml]\ndate: 2026-11-20\n" + cases} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return policy.Test(filepath.Join(dir, "strict_test.yaml"))
}

// A case that does not come out as wanted fails: a test that cannot fail
// would be none.
func TestCasesCanFail(t *testing.T) {
	report, err := runCases(t, `cases:
  - {name: good, image: registry.example/acme/prod/api, want: {verdict: pass}}
  - {name: verdict, image: registry.example/acme/prod/api, want: {verdict: deny, codes: [USER_ROOT]}}
  - {name: codes, image: registry.example/acme/prod/api, platform: {user: {configured: "0", uid: 0}}, want: {verdict: deny, codes: [USER_NOT_SET]}}
  - {name: one code of two, image: registry.example/acme/prod/api,
     platform: {user: {configured: "0", uid: 0}, base: null}, want: {verdict: deny, codes: [USER_ROOT]}}
  - {name: warning, image: registry.example/acme/prod/api, want: {verdict: pass, warnings: [GROUP_ROOT]}}
  - {name: unknown field of evidence, image: registry.example/acme/prod/api, platform: {usr: {uid: 0}}, want: {verdict: pass}}
  - {name: not a repository, image: "registry.example/acme/prod/API", want: {verdict: pass}}
  - {name: no such record, record: nowhere.json, want: {verdict: pass}}
  - {name: another day, image: registry.example/acme/prod/api, date: 2027-06-01, change: {uploaded: "2026-11-20T00:00:00Z"}, want: {verdict: pass}}
`)

	if err != nil {
		t.Fatal(err)
	}

	var failed []string
	for _, r := range report.Results {
		if r.Problem != "" {
			failed = append(failed, r.Name)
		}
		if r.Line == 0 || r.File == "" {
			t.Errorf("%s has no place", r.Name)
		}
	}

	want := []string{"verdict", "codes", "one code of two", "warning", "unknown field of evidence", "not a repository", "no such record", "another day"}
	if diff := cmp.Diff(want, failed); diff != "" || report.Failed() != len(want) {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(report.Covered) == 0 || len(report.Never) == 0 {
		t.Errorf("coverage: %v, never %v", report.Covered, report.Never)
	}
}

func TestCasesAreStrict(t *testing.T) {
	for name, tt := range map[string]struct{ cases, want string }{
		"none":                     {"cases: []\n", "a test that tests nothing"},
		"missing":                  {"", "cases is missing"},
		"a misspelt code":          {"cases: [{name: a, want: {verdict: deny, codes: [USER_ROTT]}}]", "did you mean USER_ROOT?"},
		"a misspelt verdict":       {"cases: [{name: a, want: {verdict: dney, codes: [USER_ROOT]}}]", "did you mean deny?"},
		"a refusal for any reason": {"cases: [{name: a, want: {verdict: deny}}]", "codes is missing"},
		"a pass with codes":        {"cases: [{name: a, want: {verdict: pass, codes: [USER_ROOT]}}]", "contradicts the verdict"},
		"a misspelt field":         {"cases: [{name: a, chnge: {}, want: {verdict: pass}}]", "did you mean change?"},
		"no expectation":           {"cases: [{name: a}]", "want is missing"},
	} {
		if _, err := runCases(t, tt.cases); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	dir := t.TempDir()
	file := filepath.Join(dir, "p_test.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: attestor/v1\nkind: GatePolicyTest\npolicies: [p.yaml]\n"+
		"date: 2026-11-20\ncases: [{name: a, want: {verdict: pass}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	if _, err := policy.Test(file); err == nil {
		t.Error("a policy that is not there is tested")
	}
	if _, err := policy.Test(filepath.Join(dir, "nowhere.yaml")); err == nil {
		t.Error("a test that is not there is run")
	}
}

// Recorded evidence is tested as it was recorded, by itself or as a line of an
// export.
func TestCasesFromRecords(t *testing.T) {
	dir := t.TempDir()
	p := with(t)
	r := recorded(p, "1", passing(p, rootUser))

	for name, text := range map[string]string{
		"strict.yaml":   strict,
		"evidence.json": marshal(t, r.Evidence),
		"line.json":     marshal(t, map[string]any{"decision": r.Decision, "evidence": r.Evidence, "policy": strict}),
		"t_test.yaml": `apiVersion: attestor/v1
kind: GatePolicyTest
policies: [strict.yaml]
date: 2026-11-20
cases:
  - {name: evidence, record: evidence.json, want: {verdict: deny, codes: [USER_ROOT]}}
  - {name: a line, record: line.json, want: {verdict: deny, codes: [USER_ROOT]}}
  - {name: changed, record: line.json, platform: {user: {configured: "7", uid: 7}}, want: {verdict: pass}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	report, err := policy.Test(filepath.Join(dir, "t_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range report.Results {
		if c.Problem != "" {
			t.Errorf("%s: %s", c.Name, c.Problem)
		}
	}
}
