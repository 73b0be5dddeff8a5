package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// policyRun runs attestor policy in the repository's root, as documents do.
func policyRun(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir("../..")
	var out, errs bytes.Buffer
	code = run(append([]string{"policy"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// TestPolicyDocs runs the commands that docs/policy.md shows and compares what
// they print; "…" stands for anything.
func TestPolicyDocs(t *testing.T) {
	steps := 0
	for _, session := range fenced(read(t, "../../docs/policy.md"), "console") {
		for _, step := range strings.Split("\n"+session, "\n$ ")[1:] {
			command, want, _ := strings.Cut(strings.TrimRight(step, "\n"), "\n")
			steps++
			t.Run(command, func(t *testing.T) {
				code, got, errs := policyRun(t, "", strings.Fields(command)[2:]...)
				pattern := `(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + `\z`
				if code != attestor.ExitPass || !regexp.MustCompile(pattern).MatchString(strings.TrimRight(got, "\n")) {
					t.Errorf("exit code %d %s\nwant\n%s\ngot\n%s", code, errs, want, got)
				}
			})
		}
	}

	if steps < 3 {
		t.Errorf("docs/policy.md shows %d commands", steps)
	}
}

func TestPolicyLint(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: p}\nspec: {mode: enfroce}\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"good", []string{"deploy/policies/starter.yaml"}, attestor.ExitPass, "ok: deploy/policies/starter.yaml: policy starter, dryRun, sha256:"},
		{"broken", []string{broken}, attestor.ExitUsage, "did you mean enforce?"},
		{"odd", []string{"internal/samples/policy.yaml"}, attestor.ExitPass, "warning: internal/samples/policy.yaml:"},
		{"odd, strictly", []string{"--strict", "internal/samples/policy.yaml"}, attestor.ExitUsage, "has no signedBy"},
		{"as JSON", []string{"-o", "json", broken}, attestor.ExitUsage, `"nearest": "enforce"`},
		{"a tie", []string{"deploy/policies/starter.yaml", "deploy/policies/scanned-only.yaml"}, attestor.ExitUsage, "equally specific"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := policyRun(t, "", append([]string{"lint"}, tt.args...)...)
			if code != tt.code || !strings.Contains(out, tt.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, tt.code, tt.want, out, errs)
			}
		})
	}

	t.Run("no such file", func(t *testing.T) {
		if code, _, errs := policyRun(t, "", "lint", "nowhere.yaml"); code != attestor.ExitUsage || !strings.Contains(errs, "nowhere.yaml") {
			t.Errorf("%d %s", code, errs)
		}
	})

	t.Run("no such format", func(t *testing.T) {
		if code, _, errs := policyRun(t, "", "lint", "-o", "xml", "deploy/policies/starter.yaml"); code !=
			attestor.ExitUsage || !strings.Contains(errs, "want text, json") {
			t.Errorf("%d %s", code, errs)
		}
	})
}

func TestPolicySchemaCommand(t *testing.T) {
	code, out, _ := policyRun(t, "", "schema")
	if code != attestor.ExitPass || out != read(t, "policy/testdata/gatepolicy.schema.json") {
		t.Errorf("exit code %d, and not the schema that the repository holds", code)
	}
}

func TestPolicyTestCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p_test.yaml")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}

	relative, err := filepath.Rel(filepath.Dir(file), filepath.Join(root, "deploy/policies/scanned-only.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	text := "apiVersion: attestor/v1\nkind: GatePolicyTest\npolicies: [" + relative + "]\ndate: 2026-11-20\ncases:\n" +
		"  - {name: wrong, want: {verdict: deny, codes: [USER_ROOT]}}\n  - {name: right, want: {verdict: pass}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	t.Run("text", func(t *testing.T) {
		code, out, _ := policyRun(t, "", "test", file)
		for _, want := range []string{"FAIL    wrong", "ok      right", file + ":6: wrong: verdict pass, want deny", "2 cases, 1 failed", "never given: "} {
			if code != attestor.ExitDeny || !strings.Contains(out, want) {
				t.Errorf("exit code %d, no %q in\n%s", code, want, out)
			}
		}
	})

	t.Run("junit", func(t *testing.T) {
		code, out, _ := policyRun(t, "", "test", "-o", "junit", file)
		var suites testSuites
		if err := xml.Unmarshal([]byte(out), &suites); err != nil || code != attestor.ExitDeny ||
			suites.Suites[0].Failures != 1 || suites.Suites[0].Cases[0].Failure == nil ||
			suites.Suites[0].Cases[0].File != file || suites.Suites[0].Cases[0].Line != 6 {
			t.Errorf("exit code %d, %v\n%s", code, err, out)
		}
	})

	t.Run("json", func(t *testing.T) {
		_, out, _ := policyRun(t, "", "test", "-o", "json", file)
		var reports []policy.CaseReport
		if err := json.Unmarshal([]byte(out), &reports); err != nil || reports[0].Failed() != 1 {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("all good", func(t *testing.T) {
		if code, out, _ := policyRun(t, "", "test", "--min-coverage", "100", "deploy/policies/hipaa_test.yaml",
			"deploy/policies/production_test.yaml"); code != attestor.ExitPass {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})

	t.Run("coverage", func(t *testing.T) {
		if code, _, _ := policyRun(t, "", "test", "--min-coverage", "101", "deploy/policies/hipaa_test.yaml"); code != attestor.ExitDeny {
			t.Errorf("exit code %d", code)
		}
	})

	t.Run("no test", func(t *testing.T) {
		if code, _, errs := policyRun(t, "", "test", "deploy/policies/hipaa.yaml"); code != attestor.ExitUsage || !strings.Contains(errs, "GatePolicyTest") {
			t.Errorf("%d %s", code, errs)
		}
	})
}

func TestPolicyExplainCommand(t *testing.T) {
	const production, starter = "deploy/policies/production.yaml", "deploy/policies/starter.yaml"
	for _, tt := range []struct {
		name, image string
		code        int
		want        []string
	}{
		{"the more specific", "us-docker.pkg.dev/acme/prod/api:v1", attestor.ExitPass,
			[]string{"governed by policy production", "less specific: policy starter", "it demands:"}},
		{"the other", "us-docker.pkg.dev/acme/test/api", attestor.ExitPass, []string{"governed by policy starter", "nothing yet: its mode is dryRun"}},
		{"none", "us-docker.pkg.dev/acme-evil/prod/api", attestor.ExitDeny,
			[]string{"no policy governs", "NO_POLICY", "production (" + production + ") covers"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := policyRun(t, "", "explain", "--policy", production, "--policy", starter, tt.image)
			for _, want := range tt.want {
				if code != tt.code || !strings.Contains(out, want) {
					t.Errorf("exit code %d, no %q in\n%s%s", code, want, out, errs)
				}
			}
		})
	}

	t.Run("json", func(t *testing.T) {
		_, out, _ := policyRun(t, "", "explain", "-o", "json", "--policy", production, "--policy", starter, "us-docker.pkg.dev/acme/prod/api")
		var got struct {
			Governs struct{ Policy attestor.PolicyRef }
			Others  []struct{ Policy attestor.PolicyRef }
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.Governs.Policy.Name != "production" || len(got.Others) != 1 {
			t.Errorf("%v\n%s", err, out)
		}
	})

	t.Run("no image", func(t *testing.T) {
		if code, _, _ := policyRun(t, "", "explain", "--policy", production, "API"); code != attestor.ExitUsage {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestPolicySimulateCommand(t *testing.T) {
	set, err := policy.Load("../../deploy/policies/scanned-only.yaml")
	if err != nil {
		t.Fatal(err)
	}

	p := set.All()[0]
	ev := p.Exemplary("us-docker.pkg.dev/acme/api", time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	ev.Platforms[0].Config.Labels = map[string]string{"team": "payments|web"}
	ev.Platforms[0].Scan.Findings = []attestor.Vulnerability{{ID: "CVE-1-1", Severity: attestor.Critical, Package: "openssl", Fixable: true}}
	verdict, ref := p.Judge(ev), p.Ref()
	line, err := json.Marshal(map[string]any{
		"decision": attestor.Decision{ID: "d1", Time: ev.Time, Verdict: verdict.Outcome(), Checks: verdict.Checks(), Policy: &ref},
		"evidence": ev, "policy": string(p.Text()),
	})

	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	changed, records := filepath.Join(dir, "changed.yaml"), filepath.Join(dir, "records.ndjson")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(p.Text()), "maximumFixableSeverity: ALLOW_ALL",
		"maximumFixableSeverity: HIGH", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(records, append(line, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		want  []string
	}{
		{"text", "", []string{records}, attestor.ExitPass,
			[]string{"1 image would be answered otherwise: 1 from pass to deny",
				"FIXABLE_SEVERITY_EXCEEDED  1", "payments|web"}},
		{"standard input", string(line), []string{"-"}, attestor.ExitPass, []string{"1 from pass to deny"}},
		{"markdown", "", []string{"-o", "markdown", records}, attestor.ExitPass, []string{`| payments\|web | pass | deny |`}},
		{"json", "", []string{"-o", "json", records}, attestor.ExitPass, []string{`"before": "pass"`, `"owner": "payments|web"`}},
		{"fail", "", []string{"--fail", records}, attestor.ExitDeny, []string{"1 from pass to deny"}},
		{"broken records", "{", []string{"-"}, attestor.ExitUsage, nil},
		{"no records", "", []string{filepath.Join(dir, "nowhere")}, attestor.ExitUsage, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, out, errs := policyRun(t, tt.stdin, append([]string{"simulate", "--policy", changed}, tt.args...)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}

	t.Run("no flips", func(t *testing.T) {
		code, out, _ := policyRun(t, "", "simulate", "--fail", "--policy", "deploy/policies/scanned-only.yaml", records)
		if code != attestor.ExitPass || !strings.Contains(out, "no image would be answered otherwise") {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}
