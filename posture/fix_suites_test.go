package posture_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestFixesOfOtherSuites: what another linter's suites fail, and is failed here too, has a fix in Terraform that parses, clears the finding where
// it is pasted, and brings up no other.
func TestFixesOfOtherSuites(t *testing.T) {
	type example struct {
		Suite, Rule, Checkov, Trivy, Address, Type string
		After, Unknown                             json.RawMessage
	}
	// So that something is left to be judged.
	narrow := resource("google_project_iam_member", "n", `{"project": "p", "role": "roles/cloudtrace.agent", "member": "user:a@acme.example"}`)
	tried := 0
	for _, file := range []string{"checkov.json", "trivy.json"} {
		var examples []example
		if err := json.Unmarshal([]byte(sample(t, file)), &examples); err != nil {
			t.Fatal(err)
		}
		for _, tt := range examples {
			if tt.Checkov == "pass" || tt.Trivy == "pass" || strings.HasPrefix(tt.Type, "google_cloudfunctions_") {
				continue
			}
			beside := []string{narrow} // and the workload that a grant is on
			switch {
			case strings.HasPrefix(tt.Type, "google_cloud_run_service_iam_"):
				beside = append(beside, resource("google_cloud_run_service", "default", `{"name": "default"}`))
			case strings.HasPrefix(tt.Type, "google_cloudfunctions2_function_iam_"):
				beside = append(beside, resource("google_cloudfunctions2_function", "default", `{"name": "default"}`))
			}
			before := hipaa(t, plan(append([]string{resourceUnknown(tt.Type, "x", string(tt.After), string(tt.Unknown))}, beside...)...))
			for _, f := range before.Findings {
				if f.Rule != tt.Rule || !asksForChange(f.Status) {
					continue
				}
				tried++
				changed := beside // without the resource, where that is the fix
				if body := hclOf(t, f); body != nil && len(body.Attributes)+len(body.Blocks) > 0 {
					after := value(t, string(tt.After))
					apply(t, body, after)
					changed = append([]string{resourceUnknown(tt.Type, "x", encoded(t, after), string(tt.Unknown))}, beside...)
				} else if !strings.Contains(f.Fix, "in Terraform: # remove all") || len(beside) == 1 {
					t.Errorf("%s of %s: no change in %q", f.Rule, tt.Address, f.Fix)
					continue
				}
				again := hipaa(t, plan(changed...))
				if asksForChange(worst(again, f.Rule)) {
					t.Errorf("%s of %s is %s: %s\nafter %s", f.Rule, tt.Address, worst(again, f.Rule), finding(t, again, f.Rule).Message, f.Fix)
				}
				for _, g := range again.Findings {
					if asksForChange(g.Status) && !asksForChange(worst(before, g.Rule)) {
						t.Errorf("%s of %s brings up %s: %s", f.Rule, tt.Address, g.Rule, g.Message)
					}
				}
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d findings", tried)
	}
}
