package posture_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// hclOf is what follows "in Terraform:" of a fix, up to the command that does the same.
func hclOf(t *testing.T, f attestor.PostureFinding) *hclsyntax.Body {
	t.Helper()
	_, text, ok := strings.Cut(f.Fix, "in Terraform: ")
	if !ok {
		return nil
	}
	text, _, _ = strings.Cut(text, " (or ")
	file, problems := hclsyntax.ParseConfig([]byte(text), "fix.tf", hcl.InitialPos)
	if problems.HasErrors() {
		t.Errorf("%s: %v\n%s", f.Rule, problems, text)
		return nil
	}
	return file.Body.(*hclsyntax.Body)
}

// filled gives the places that a person fills in values of the right form.
var filled = strings.NewReplacer("IMAGE@sha256:DIGEST", digestImage, "NAME@PROJECT", "api@acme", "projects/PROJECT", "projects/acme")

// literal is an argument as a plan has it; a reference is any text.
func literal(t *testing.T, e hclsyntax.Expression) any {
	t.Helper()
	v, problems := e.Value(nil)
	if problems.HasErrors() {
		return "reference"
	}
	switch name := v.Type().FriendlyName(); {
	case name == "string":
		return filled.Replace(v.AsString())
	case name == "bool":
		return v.True()
	case name == "number":
		f, _ := v.AsBigFloat().Float64()
		return f
	case v.Type().IsTupleType():
		out := []any{}
		for i := range v.LengthInt() {
			item := v.AsValueSlice()[i]
			if item.Type().FriendlyName() == "string" {
				out = append(out, filled.Replace(item.AsString()))
			}
		}
		return out
	case v.Type().IsObjectType():
		out := map[string]any{}
		for key, item := range v.AsValueMap() {
			out[key] = item.AsString()
		}
		return out
	}
	t.Fatalf("an argument of type %s", v.Type().FriendlyName())
	return nil
}

// apply writes arguments and blocks into a resource of a plan, as a person who pastes them does: a block that is there is completed, of
// variables one of the same name is replaced, and rules of a policy and volumes are added.
func apply(t *testing.T, b *hclsyntax.Body, into map[string]any) {
	t.Helper()
	for name, a := range b.Attributes {
		if fields, ok := literal(t, a.Expr).(map[string]any); ok {
			if old, there := into[name].(map[string]any); there {
				for key, v := range old {
					if fields[key] == nil {
						fields[key] = v
					}
				}
			}
			into[name] = fields
			continue
		}
		into[name] = literal(t, a.Expr)
	}
	for _, block := range b.Blocks {
		there, _ := into[block.Type].([]any)
		fields := map[string]any{}
		apply(t, block.Body, fields)
		switch {
		case block.Type == "env" || block.Type == "volumes" || block.Type == "volume_mounts" || block.Type == "rule":
			there = slices.DeleteFunc(slices.Clone(there), func(old any) bool {
				o, _ := old.(map[string]any)
				return o["name"] != nil && o["name"] == fields["name"] || o["priority"] != nil && o["priority"] == fields["priority"]
			})
			into[block.Type] = append(there, fields)
		case len(there) == 0:
			into[block.Type] = []any{fields}
		default:
			for _, old := range there {
				if o, ok := old.(map[string]any); ok {
					apply(t, block.Body, o)
				}
			}
		}
	}
}

// bareServices break every rule about services that a change of the definition clears, in both resources of Terraform.
var bareServices = map[string]string{
	"google_cloud_run_v2_service": `{"name": "a", "project": "acme", "location": "europe-west1",
		"ingress": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "invoker_iam_disabled": true, "ssh_enabled": true,
		"template": [{"containers": [{"image": "nginx", "env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}]}`,
	"google_cloud_run_v2_service ": `{"name": "a", "project": "acme", "location": "us-east1", ` +
		`"binary_authorization": [{"breakglass_justification": "urgent"}], ` +
		`"template": [{"containers": [{"image": "nginx"}, {"image": "proxy"}]}]}`,
	"google_cloud_run_service": `{"name": "a", "project": "acme", "location": "europe-west1",
		"metadata": [{"annotations": {"run.googleapis.com/invoker-iam-disabled": "true"}}],
		"template": [{"metadata": [{"annotations": {}}], "spec": [{"containers": [{"image": "nginx"}]}]}]}`,
	"google_cloud_run_v2_job": `{"name": "a", "project": "acme", "location": "europe-west1", ` +
		`"template": [{"template": [{"containers": [{"image": "nginx"}]}]}]}`,
	"google_cloud_run_v2_worker_pool": `{"name": "a", "project": "acme", "location": "europe-west1", "template": [{"containers": [{"image": "nginx"}]}]}`,
	"google_cloudfunctions2_function": `{"name": "a", "project": "acme", "location": "europe-west1", "service_config": [{"environment_variables": {}}]}`,
}

// byHand are findings that no text in the definition clears: the image is to be attested, a function is built from source, and a secret in
// the environment is to be removed where the text says what to add.
func byHand(kind, rule string) bool {
	return rule == "IMAGE_ATTESTED" || rule == "LEAST_PRIVILEGE" || kind == "google_cloudfunctions2_function" &&
		rule == "IMAGE_BY_DIGEST" || rule == "SECRETS_AS_FILES"
}

// TestTerraformFixesClearTheFinding: each fix parses as HCL and, pasted into the resource, clears its finding.
func TestTerraformFixesClearTheFinding(t *testing.T) {
	cleared := map[string]bool{}
	for kind, bare := range bareServices {
		kind = strings.TrimSpace(kind)
		report := func(text string) attestor.PostureReport {
			return mustJudge(t, builtin(t, "strict"), &attested{}, posture.Input{Definitions: []posture.Source{source(text)}})
		}
		for _, f := range report(plan(resource(kind, "a", bare))).Findings {
			body := hclOf(t, f)
			if f.Kind == "plan" || body == nil || byHand(kind, f.Rule) || f.Rule == "BINARY_AUTHORIZATION" && strings.Contains(f.Fix, "# remove") {
				continue
			}
			after := value(t, bare)
			apply(t, body, after)
			again := report(plan(resource(kind, "a", encoded(t, after))))
			for _, g := range again.Findings {
				// What was cleared may show that something else is missing, such as who else may call.
				if g.Rule == f.Rule && (g.Status == attestor.StatusDeny || g.Status == attestor.StatusWarn) {
					t.Errorf("%s: %s is %s after\n%s\n%s", kind, f.Rule, g.Status, f.Fix, g.Message)
				}
			}
			cleared[f.Rule] = true
		}
	}
	for _, tt := range brokenPlan {
		v := value(t, replace(t, sample(t, "surroundings.json"), tt.edits...))
		f := finding(t, mustStrictly(t, v), tt.rule)
		body := hclOf(t, f)
		if body == nil {
			t.Errorf("%s: no HCL in %q", tt.name, f.Fix)
			continue
		}
		for _, c := range changes(v) {
			c := c.(map[string]any)
			if strings.Contains(f.Message, c["address"].(string)+" ") {
				change := c["change"].(map[string]any)
				apply(t, body, change["after"].(map[string]any))
				change["after_unknown"] = map[string]any{}
			}
		}
		for _, b := range body.Blocks {
			if b.Type == "resource" {
				after := map[string]any{}
				apply(t, b.Body, after)
				v["resource_changes"] = append(changes(v), value(t, resource(b.Labels[0], b.Labels[1], encoded(t, after))))
			}
		}
		g := finding(t, mustStrictly(t, v), tt.rule)
		if takenAway[tt.name] == "" && g.Status != attestor.StatusPass {
			t.Errorf("%s: %s is %s after\n%s\n%s", tt.name, tt.rule, g.Status, f.Fix, g.Message)
		}
		if takenAway[tt.name] == "" {
			cleared[tt.rule] = true
		}
	}
	if len(cleared) < 28 {
		t.Errorf("only %d rules have a fix in Terraform that was tried: %v", len(cleared), cleared)
	}
}

// takenAway are the cases of plans in which something has to be taken away, or decided, which no text to paste can do.
var takenAway = map[string]string{
	"a key": "the resource itself", "everybody": "the member", "an editor": "the role is the grant's own",
	"a whole registry": "the pattern", "a laxer cluster": "the cluster's rule",
	"ingress of all": "the value", "all, without a condition": "the exception",
	"a rule against cross-site scripting in preview": "one rule of two",
	"a rule that denies all but attacks":             "the rule",
	"one of three":                                   "another constraint", "no SSL policy": "the policy that the text names",
	"no IAP": "a backend that people use", "IAP off": "a backend that people use",
}

// TestCommandsAreWhole: a command names the workload's kind, its region, and the container where there are several.
func TestCommandsAreWhole(t *testing.T) {
	const two = `{"name": "projects/acme/locations/us-east1/%s/a", "template": {%s}}`
	containers := `"containers": [{"name": "app", "image": "` + digestImage + `", "resources": {"limits": {"cpu": ` +
		`"1", "memory": "1Gi"}}}, {"name": "proxy", "image": "nginx"}]`
	for collection, group := range map[string]string{"services": "services", "jobs": "jobs", "workerPools": "worker-pools"} {
		body := containers
		if collection == "jobs" {
			body = `"template": {` + containers + `}`
		}
		r := hipaa(t, fmt.Sprintf(two, collection, body))
		for rule, flags := range map[string]string{"IMAGE_BY_DIGEST": "--container=proxy --image=",
			"RESOURCE_LIMITS": "--container=proxy --cpu=", "CMEK": "--key="} {
			want := "gcloud run " + group + " update a --region=us-east1 " + flags
			if f := finding(t, r, rule); !strings.Contains(f.Fix, want) {
				t.Errorf("%s %s: %q, want %q", collection, rule, f.Fix, want)
			}
		}
		for _, f := range r.Findings {
			if m := regexp.MustCompile("gcloud run [a-z-]+ " +
				"(update|get-iam-policy|update-traffic|remove-iam-policy-binding)[^`]*").FindString(f.Fix); m != "" &&
				!strings.Contains(m, "--region=us-east1") {
				t.Errorf("%s %s: no region in %q", collection, f.Rule, m)
			}
		}
	}
}
