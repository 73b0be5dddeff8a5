package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestGrantsToEverybodyElsewhere: nothing beside a workload is for everybody; who may call it, and who passes Identity-Aware Proxy, other
// rules say.
func TestGrantsToEverybodyElsewhere(t *testing.T) {
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	service := resource("google_cloud_run_v2_service", "api", apiService)
	for _, tt := range []struct {
		kind, grant string
		want        attestor.Status
	}{
		{"google_container_analysis_note_iam_member", `"role": "roles/x", "member": "allUsers"`, deny},
		{"google_iam_workload_identity_pool_iam_binding", `"role": "roles/x", "members": ["user:a@acme.example", "allUsers"]`, deny},
		{"google_storage_bucket_iam_policy", `"policy_data": "{\"bindings\": [{\"role\": \"roles/x\", \"members\": [\"allAuthenticatedUsers\"]}]}"`, deny},
		{"google_kms_ekm_connection_iam_member", `"role": "roles/x", "member": "principalSet://goog/public:all"`, deny},
		{"google_container_analysis_note_iam_member", `"role": "roles/x", "member": "user:a@acme.example"`, ""},
		{"google_cloudfunctions_function_iam_member", `"role": "roles/cloudfunctions.invoker", "member": "allUsers"`, ""}, // outside Cloud Run
	} {
		text := plan(service, resource(tt.kind, "x", `{"name": "x", `+tt.grant+`}`))
		if got := worst(hipaa(t, text), "NO_BASIC_ROLES"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.kind, got, tt.want)
		}
	}

	note := connectorResource("iam", "IAMPolicyMember", "{member: allUsers, role: roles/x, resourceRef: {kind: ContainerAnalysisNote, name: n}}")
	if got := worst(hipaa(t, note), "NO_BASIC_ROLES"); got != deny {
		t.Errorf("a note of Config Connector: %s", got)
	}

	// A group that names its service by a mask, with the empty name that states have, or by its whole name, leads to it.
	for cloudRun, want := range map[string]attestor.Status{
		`"service": "", "url_mask": "<service>.acme.example"`:            deny,
		`"service": "projects/acme/locations/us-east1/services/api"`:     deny,
		`"service": "projects/acme/locations/us-east1/services/another"`: attestor.StatusSkipped,
	} {
		group := resource("google_compute_region_network_endpoint_group", "g", `{"name": "g", "region": "us-east1", "cloud_run": [{`+cloudRun+`}]}`)
		if got := worst(hipaa(t, plan(service, group)), "DEFAULT_URL_DISABLED"); got != want {
			t.Errorf("%s: %s, want %s", cloudRun, got, want)
		}
	}

	// A state has "" for numbers and switches that nobody set, and they are judged as such.
	state := `{"version": 4, "lineage": "l", "resources": [{"mode": "managed", "type": "google_cloud_run_v2_service",
		"name": "api", "instances": [{"attributes":
  {"name": "api", "location": "us-east1", "invoker_iam_disabled": "", "template": [{"timeout": "", "max_instance_request_concurrency": ""}]}}]}]}`
	for _, rule := range []string{"TIMEOUT_BOUNDED", "CONCURRENCY_SET"} {
		if got := worst(hipaa(t, state), rule); got != deny {
			t.Errorf("%s of a state: %s", rule, got)
		}
	}

	// A label, an annotation or a variable of a build that is known only after apply may be a secret.
	const body = `"template": [{"containers": [{"image": "i"}]}]`
	for after, unknown := range map[string]string{
		`{"name": "a", "labels": {"b": "c"}, ` + body + `}`:                       `{}`,
		`{"name": "a", "labels": {}, ` + body + `}`:                               `{"labels": {"b": true}}`,
		`{"name": "a", "annotations": {}, ` + body + `}`:                          `{"annotations": {"run.googleapis.com/cloudsql-instances": true}}`,
		`{"name": "a", "build_config": [{"service_account": "x"}], ` + body + `}`: `{"build_config": [{"environment_variables": true}]}`,
		`{"name": "a", "build_config": [{"environment_variables": {"A": "b"}}],
		  "labels": null, ` + body + `}`: `{"build_config": [{"environment_variables": {"C": true}}]}`,
	} {
		want := attestor.StatusSkipped
		if !strings.Contains(unknown, "true") || strings.Contains(unknown, "googleapis.com") {
			want = pass
		}
		if got := worst(hipaa(t, plan(resourceUnknown("google_cloud_run_v2_service", "a", after, unknown))), "SECRETS_BY_REFERENCE"); got != want {
			t.Errorf("%s, unknown %s: %s, want %s", after, unknown, got, want)
		}
	}
}
