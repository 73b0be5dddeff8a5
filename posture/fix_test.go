package posture_test

import (
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/attestor-gate/attestor"
)

// TestFixesAreHCL: what follows "in Terraform:" can be pasted, up to the command that does the same.
func TestFixesAreHCL(t *testing.T) {
	const bare = `{"name": "a", "project": "acme", "location": "europe-west1", "invoker_iam_disabled": true, "ssh_enabled": true, "template": [{"containers": [
		{"image": "nginx", "env": [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "T", "value_source": [{"secret_key_ref": [{"secret": "t", "version": "latest"}]}]}]}]}]}`

	reports := []attestor.PostureReport{mustJudge(t, builtin(t, "strict"), &attested{}, whole(t, plan(resource("google_cloud_run_v2_service", "a", bare))))}
	for _, tt := range brokenPlan {
		reports = append(reports, planned(t, builtin(t, "strict"), tt.edits...))
	}

	seen := map[string]bool{}
	for _, r := range reports {
		for _, f := range r.Findings {
			_, text, ok := strings.Cut(f.Fix, "in Terraform: ")
			if !ok {
				continue
			}

			seen[f.Rule] = true
			text, _, _ = strings.Cut(text, " (or ")
			if _, problems := hclsyntax.ParseConfig([]byte(text), "fix.tf", hcl.InitialPos); problems.HasErrors() {
				t.Errorf("%s: %v\n%s", f.Rule, problems, text)
			}
		}
	}

	if len(seen) < 30 {
		t.Errorf("only %d rules have a fix in Terraform", len(seen))
	}
}
