package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

const poolYAML = `apiVersion: run.googleapis.com/v1
kind: WorkerPool
metadata:
  name: queue
  namespace: acme
  labels: {cloud.googleapis.com/location: us-east1}
  annotations: {run.googleapis.com/binary-authorization: default}
spec:
  instanceSplits: [{latestRevision: true, percent: 100}]
  template:
    metadata:
      annotations:
        run.googleapis.com/network-interfaces: '[{"network":"n","subnetwork":"s"}]'
        run.googleapis.com/encryption-key: projects/p/locations/l/keyRings/r/cryptoKeys/k
    spec:
      serviceAccountName: queue@acme.iam.gserviceaccount.com
      containers:
      - image: ` + digestImage + `
        resources: {limits: {cpu: '1', memory: 512Mi}}
`

const poolV2 = `{"name": "projects/acme/locations/us-east1/workerPools/queue", "binaryAuthorization": {"useDefault": true},
 "instanceSplits": [{"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 100}],
 "template": {"serviceAccount": "queue@acme.iam.gserviceaccount.com", "encryptionKey": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
  "vpcAccess": {"connector": "projects/p/locations/l/connectors/c"},
  "containers": [{"image": "` + digestImage + `", "resources": {"limits": {"cpu": "1", "memory": "512Mi"}}}]}}`

const poolTerraform = `{"name": "queue", "project": "acme", "location": "us-east1", "binary_authorization": [{"use_default": true}],
 "instance_splits": [{"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 100}],
 "template": [{"service_account": "queue@acme.iam.gserviceaccount.com", "encryption_key": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
  "vpc_access": [{"connector": "projects/p/locations/l/connectors/c"}],
  "containers": [{"image": "` + digestImage + `", "resources": [{"limits": {"cpu": "1", "memory": "512Mi"}}]}]}]}`

// TestWorkerPools: a pool is a workload that nobody calls. What is about requests does not apply to it; the rest is judged in all
// three forms.
func TestWorkerPools(t *testing.T) {
	applies := map[string]bool{
		"REGION_APPROVED": true, "INVOKER_AUTH": true, "DEDICATED_SERVICE_ACCOUNT": true, "LEAST_PRIVILEGE": true, "VPC_EGRESS": true, "STATIC_EGRESS_IP": true,
		"SECRETS_BY_REFERENCE": true, "SECRETS_AS_FILES": true, "SECRET_VERSION_PINNED": true, "RESOURCE_LIMITS": true, "IMAGE_BY_DIGEST": true,
		"IMAGE_ATTESTED": true, "BINARY_AUTHORIZATION": true, "CMEK": true, "REVISION_JUDGED": true, "SHELL_DISABLED": true,
		"ACCOUNT_REACH": true, "DATABASE_REGION": true, "NETWORK_OWN": true, "NFS_PRIVATE": true, "MOUNTS_READ_ONLY": true, "KEY_REVOCATION": true,
	}
	for name, text := range map[string]string{
		"YAML": poolYAML, "v2": poolV2, "v2 list": `{"workerPools": [` + poolV2 + `]}`,
		"Terraform": plan(resource("google_cloud_run_v2_worker_pool", "q", poolTerraform)),
	} {
		t.Run(name, func(t *testing.T) {
			r := hipaa(t, text)
			if r.Verdict != attestor.Pass || r.Services != 1 {
				t.Errorf("a good pool: %s, %d services", r.Verdict, r.Services)
			}
			for _, f := range r.Findings {
				if excluded := f.Message == "does not apply to a worker pool"; f.Service != "acme/us-east1/queue" ||
					f.Kind != "workerpool" || excluded == applies[f.Rule] {
					t.Errorf("%s of %s %s: %s %s", f.Rule, f.Kind, f.Service, f.Status, f.Message)
				}
				if f.Status.Refuses() {
					t.Errorf("%s is %s: %s", f.Rule, f.Status, f.Message)
				}
			}
			for rule, edit := range map[string][]string{
				"IMAGE_BY_DIGEST": {digestImage, "us-docker.pkg.dev/acme/prod/queue:v1"},
				"DEDICATED_SERVICE_ACCOUNT": {"queue@acme.iam.gserviceaccount.com",
					"1-compute@developer.gserviceaccount.com"},
				"REGION_APPROVED": {"us-east1", "asia-east2"}, "CMEK": {"projects/p/locations/l/keyRings/r/cryptoKeys/k", ""},
			} {
				broken := hipaa(t, replace(t, text, edit...))
				if f := finding(t, broken, rule); f.Status != attestor.StatusDeny ||
					strings.Contains(f.Fix, "gcloud") && !strings.Contains(f.Fix, "gcloud run worker-pools ") {
					t.Errorf("%s is %s, fix %q", rule, f.Status, f.Fix)
				}
			}
		})
	}
	old := replace(t, poolYAML, "latestRevision: true", "revisionName: queue-00001-abc")
	if f := finding(t, hipaa(t, old), "REVISION_JUDGED"); f.Status == attestor.StatusPass {
		t.Errorf("an older revision: %s", f.Message)
	}
}

// TestUnreadWorkloads: a workload of a kind that is not read is an error, beside good ones that are judged; what is known
// to be outside Cloud Run is named and changes no verdict.
func TestUnreadWorkloads(t *testing.T) {
	pool := resource("google_cloud_run_v2_worker_pool", "q", poolTerraform)
	const unread, outside = attestor.StatusError, attestor.StatusSkipped
	for _, tt := range []struct {
		name, text string
		want       attestor.Status
	}{
		{"google_cloud_run_v2_sandbox", plan(pool, resource("google_cloud_run_v2_sandbox", "x", `{"name": "x"}`)), unread},
		{"google_cloudfunctions3_function", plan(pool, resource("google_cloudfunctions3_function", "x", `{"name": "x"}`)), unread},
		{"google_new_runtime", plan(pool, resource("google_new_runtime", "x", `{"spec": [{"containers": [{"image": "nginx"}]}]}`)), unread},
		{"google_new_thing without containers", plan(pool, resource("google_new_thing", "x", `{"spec": [{"image": "a.png"}]}`)), ""},
		{"google_cloudfunctions_function", plan(pool, resource("google_cloudfunctions_function", "x", `{"name": "x"}`)), outside},
		{"google_app_engine_flexible_app_version", plan(pool, resource("google_app_engine_flexible_app_version", "x",
			`{"deployment": [{"container": [{"image": "nginx"}]}]}`)), outside},
		{"google_container_cluster", plan(pool, resource("google_container_cluster", "x", `{"name": "x"}`)), outside},
		{"google_compute_instance", plan(pool, resource("google_compute_instance", "x", `{"name": "x"}`)), outside},
		{"kubernetes_deployment_v1", plan(pool, resource("kubernetes_deployment_v1", "x", `{"spec": []}`)), outside},
		{"RunService", poolYAML + "---\napiVersion: run.cnrm.cloud.google.com/v1beta1\nkind: RunService\nmetadata: {name: x}\n", unread},
		{"Revision", poolYAML + "---\napiVersion: serving.knative.dev/v1\nkind: Revision\nmetadata: {name: x}\nspec: {containers: [{image: nginx}]}\n", unread},
		{"Deployment", poolYAML + "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n", outside},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := hipaa(t, tt.text)
			if finding(t, r, "IMAGE_BY_DIGEST").Status != attestor.StatusPass {
				t.Error("the pool beside it was not judged")
			}
			if got := worst(r, posture.InputComplete); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if want := map[bool]attestor.Outcome{true: attestor.Undecided, false: attestor.Pass}[tt.want == unread]; r.Verdict != want {
				t.Errorf("%s, want %s", r.Verdict, want)
			}
		})
	}
}

// TestV2Settings: what newer versions of the v2 API say, by name and by number, in JSON and in Terraform.
func TestV2Settings(t *testing.T) {
	base := func(more, template string) string {
		return `{"name": "projects/acme/locations/us-east1/services/a", ` + more + `"template": {` + template +
			`"containers": [{"image": "` + digestImage + `"}]}}`
	}
	const pass, deny, warn = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"ingress none", base(`"ingress": "INGRESS_TRAFFIC_NONE", `, ""), "INGRESS_RESTRICTED", pass},
		{"ingress 4", base(`"ingress": 4, `, ""), "INGRESS_RESTRICTED", pass},
		{"ingress 3", base(`"ingress": 3, `, ""), "INGRESS_RESTRICTED", pass},
		{"ingress 1", base(`"ingress": 1, `, ""), "INGRESS_RESTRICTED", deny},
		{"ingress 0", base(`"ingress": 0, `, ""), "INGRESS_RESTRICTED", deny},
		{"ingress 5", base(`"ingress": 5, `, ""), "INGRESS_RESTRICTED", deny},
		{"egress 1", base("", `"vpcAccess": {"connector": "c", "egress": 1}, `), "VPC_EGRESS", pass},
		{"egress 3", base("", `"vpcAccess": {"connector": "c", "egress": 3}, `), "VPC_EGRESS", deny},
		{"manual scaling 2", base(`"scaling": {"scalingMode": 2, "manualInstanceCount": 3}, `, ""), "MAX_INSTANCES", pass},
		{"SSH", base(`"sshEnabled": true, `, ""), "SHELL_DISABLED", deny},
		{"no SSH", base(`"sshEnabled": false, `, ""), "SHELL_DISABLED", pass},
		{"SSH in Terraform", plan(resource("google_cloud_run_v2_service", "a", `{"name": "a", "ssh_enabled": true}`)), "SHELL_DISABLED", deny},
		{"regions", base(`"multiRegionSettings": {"regions": ["us-east4", "us-west1"]}, `, ""), "REGION_APPROVED", pass},
		{"an agent identity", base("", `"workloadIdentityConfig": {"identityType": "IDENTITY_TYPE_AGENT_IDENTITY"}, `), "DEDICATED_SERVICE_ACCOUNT", pass},
		{"an account by its type", base("", `"workloadIdentityConfig": {"identityType": 1}, `), "DEDICATED_SERVICE_ACCOUNT", deny},
		{"an identity of a newer type", base("", `"workloadIdentityConfig": {"identityType": "IDENTITY_TYPE_NEWER"}, `), "DEDICATED_SERVICE_ACCOUNT", deny},
		{"an agent that is an owner", plan(resource("google_cloud_run_v2_service", "a",
			`{"name": "a", "project": "acme", "template": [{"workload_identity_config": [{"identity_type": `+
				`"IDENTITY_TYPE_AGENT_IDENTITY"}], "containers": [{"image": "`+digestImage+`"}]}]}`),
			resource("google_project_iam_member", "x", `{"project": "acme", "role": "roles/owner", `+
				`"member": "principal://agents.global.org-1.system.id.goog/resources/run/projects/1/locations/`+
				`us-east1/services/a"}`)), "LEAST_PRIVILEGE", deny},
		{"regions of a global name",
			strings.Replace(base(`"multiRegionSettings": {"regions": ["us-east4", "us-west1"]}, `, ""),
				"locations/us-east1", "locations/global", 1), "REGION_APPROVED", pass},
		{"a global name alone", strings.Replace(base("", ""), "locations/us-east1", "locations/global", 1), "REGION_APPROVED", deny},
		{"one foreign region", base(`"multiRegionSettings": {"regions": ["us-east4", "me-west1"]}, `, ""), "REGION_APPROVED", deny},
		{"startup probe, checks off", base("", `"healthCheckDisabled": true, "containers_": [], `), "PROBES", warn},
		{"base updates by the build", base(`"buildConfig": {"enableAutomaticUpdates": true}, `, ""), "IMAGE_BY_DIGEST", deny},
		{"a build without updates", base(`"buildConfig": {"enableAutomaticUpdates": false, "baseImage": "go122"}, `, ""), "IMAGE_BY_DIGEST", pass},
		{"a build's variable", base(`"buildConfig": {"environmentVariables": {"NPM_TOKEN": "hunter2"}}, `, ""), "SECRETS_BY_REFERENCE", deny},
		{"an annotation", base(`"annotations": {"note": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"}, `, ""), "SECRETS_BY_REFERENCE", deny},
		{"references in an annotation", base(`"annotations": {"run.googleapis.com/secrets": "a:projects/1/secrets/a"}, `, ""), "SECRETS_BY_REFERENCE", pass},
		{"a header in Terraform", plan(resource("google_cloud_run_v2_service", "a", `{"name": "a", "template": [{"containers": [{"image": "`+digestImage+`",
			"liveness_probe": [{"http_get": [{"path": "/", "http_headers": [{"name": "X-Api-Key", "value": "hunter2"}]}]}]}]}]}`)),
			"SECRETS_BY_REFERENCE", deny},
	} {
		if f := finding(t, hipaa(t, tt.text), tt.rule); f.Status != tt.want || strings.Contains(f.Message+f.Fix, "hunter2") {
			t.Errorf("%s: %s is %s: %s", tt.name, tt.rule, f.Status, f.Message)
		}
	}
}

// TestValuesThatAreNoSecrets: a word that only describes, a reference, a switch.
func TestValuesThatAreNoSecrets(t *testing.T) {
	for _, value := range []string{
		`'{"token_url": "https://up.example/token", "passwordFile": "/run/secrets/password", "useSecret": "true"}'`,
		"user=u;password.file=/run/secrets/db;ssl=true",
		`'{"password": "projects/acme/secrets/db"}'`, `"-Dtoken.ttl=60 -Xmx512m"`, `'{"a": [1, 2, {"b": null}]}'`, `'{not json'`,
	} {
		in := replace(t, sample(t, "hardened.yaml"), "LOG_LEVEL\n          value: info", "SETTINGS\n          value: "+value,
			"        image: ", "        args: [--verbose, serve, --token-ttl, '60', --password-file, /run/secrets/db]\n        image: ")
		if f := finding(t, hipaa(t, in), "SECRETS_BY_REFERENCE"); f.Status != attestor.StatusPass {
			t.Errorf("%s: %s", value, f.Message)
		}
	}
}
