package posture_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// inV2 is a service, job, worker pool or instance of the v2 API with fields at its top and in its template.
func inV2(collection, top, template string) string {
	inner := template + `"containers": [{"name": "a", "image": "` + digestImage + `"}]`
	switch collection {
	case "jobs":
		inner = `"template": {"template": {` + inner + `}}`
	case "instances":
	default:
		inner = `"template": {` + inner + `}`
	}
	return `{"name": "projects/acme/locations/us-east1/` + collection + `/a", ` + top + inner + `}`
}

// inTerraform is the same as a resource of a plan.
func inTerraform(kind, top, template string) string {
	inner := template + `"containers": [{"name": "a", "image": "` + digestImage + `"}]`
	switch kind {
	case "job":
		inner = `"template": [{"template": [{` + inner + `}]}]`
	case "instance":
	default:
		inner = `"template": [{` + inner + `}]`
	}
	return plan(resource("google_cloud_run_v2_"+kind, "a", `{"name": "a", "project": "acme", "location": "us-east1", `+top+inner+`}`))
}

// inContainer puts fields into the container of a definition.
func inContainer(text, fields string) string {
	return strings.Replace(text, `"image": "`+digestImage+`"`, `"image": "`+digestImage+`", `+fields, 1)
}

// inYAML is a service with annotations of the service (S), and of the revision (R), and further fields of its pod.
func inYAML(outer, inner, pod string) string {
	return `{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a", "labels": ` +
		`{"cloud.googleapis.com/location": "us-east1"}, "annotations": {` + outer + `}}, "spec": {"template": {"metadata": ` +
		`{"annotations": {` + inner + `}}, "spec": {` + pod + `"containers": [{"name": "a", "image": "` + digestImage + `"}]}}}}`
}

// TestFeaturesOfToday: what Cloud Run can do since 2025, in each form in which it can be written, is seen by its rule.
func TestFeaturesOfToday(t *testing.T) {
	const pass, deny, warn, skipped = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn, attestor.StatusSkipped
	const run = "run.googleapis.com/"
	const key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	const agent = "principal://agents.global.org-1.system.id.goog/resources/run/projects/1/locations/us-east1/services/a"
	const agentOfProject = "principal://agents.global.project-1.system.id.goog/resources/run/projects/1/locations/us-east1/services/a"
	probe := func(name string) string {
		return `"` + name + `": {"httpGet": {"path": "/", "httpHeaders": [{"name": "X", "value": "` + token + `"}]}}`
	}
	owner := func(member string) string {
		return `, ` + resource("google_project_iam_member", "x", `{"project": "acme", "role": "roles/owner", "member": "`+member+`"}`) + `]}`
	}
	agentPlan := strings.TrimSuffix(inTerraform("service", "", `"workload_identity_config": [{"identity_type": "IDENTITY_TYPE_AGENT_IDENTITY"}], `), "]}")
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		// Kinds.
		{"a pool in YAML", replace(t, poolYAML, digestImage, "nginx"), "IMAGE_BY_DIGEST", deny},
		{"a pool in v2", replace(t, inV2("workerPools", "", ""), digestImage, "nginx"), "IMAGE_BY_DIGEST", deny},
		{"a pool in Terraform", replace(t, inTerraform("worker_pool", "", ""), digestImage, "nginx"), "IMAGE_BY_DIGEST", deny},
		{"a pool on an older revision", inV2("workerPools", `"instanceSplits": [{"revision": "old", "percent": 100}], `, ""), "REVISION_JUDGED", skipped},
		{"a pool on an older revision, in Terraform",
			inTerraform("worker_pool", `"instance_splits": [{"revision": "old", "percent": 100}], `, ""), "REVISION_JUDGED", skipped},
		{"a pool for all", strings.TrimSuffix(inTerraform("worker_pool", "", ""), "]}") + `, ` +
			resource("google_cloud_run_v2_worker_pool_iam_binding", "x", `{"name": "a", "role": "roles/run.developer", "members": ["allUsers"]}`) + `]}`,
			"INVOKER_AUTH", deny},
		{"an instance in YAML", `{"apiVersion": "run.googleapis.com/v1", "kind": "Instance", "metadata": {"name": "a", "annotations": {"` + run +
			`invoker-iam-disabled": "true"}}, "spec": {"containers": [{"image": "nginx"}]}}`, "INVOKER_AUTH", deny},
		{"an instance in a list of YAML",
			`{"apiVersion": "run.googleapis.com/v1", "kind": "InstancesList", ` +
				`"items": [{"apiVersion": "run.googleapis.com/v1", ` +
				`"kind": "Instance", "metadata": {"name": "a"}, "spec": {"containers": [{"image": "nginx"}]}}]}`, "IMAGE_BY_DIGEST", deny},
		{"pools in a list of YAML", `{"apiVersion": "run.googleapis.com/v1", "kind": "WorkerPoolList", "items": [{"apiVersion": "run.googleapis.com/v1", ` +
			`"kind": "WorkerPool", "metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": [{"image": "nginx"}]}}}}]}`,
			"IMAGE_BY_DIGEST", deny},
		{"an instance without an ingress", inV2("instances", "", ""), "INGRESS_RESTRICTED", deny},
		{"an instance's ingress in Terraform", inTerraform("instance", `"ingress": "INGRESS_TRAFFIC_ALL", `, ""), "INGRESS_RESTRICTED", deny},
		{"an instance's invokers", inV2("instances", `"invokerIamDisabled": true, `, ""), "INVOKER_AUTH", deny},
		{"an instance's key", inV2("instances", "", ""), "CMEK", deny},
		{"an instance's address", inV2("instances", `"ingress": 3, `, ""), "DEFAULT_URL_DISABLED", deny},
		{"an instance's sandbox", inV2("instances", `"sandboxes": {"templates": [{"image": "nginx"}]}, `, ""), "IMAGE_BY_DIGEST", deny},
		{"a function from source", inV2("services", `"buildConfig": {"functionTarget": "F"}, `, ""), "BUILD_ACCOUNT", warn},
		{"a function of the second generation", plan(resource("google_cloudfunctions2_function", "f", `{"name": "f"}`)), "INGRESS_RESTRICTED", deny},

		// Settings.
		{"SSH in YAML", inYAML("", `"`+run+`secure-session-agent": "enabled"`, ""), "SHELL_DISABLED", deny},
		{"SSH of an instance", inV2("instances", `"sshEnabled": true, `, ""), "SHELL_DISABLED", deny},
		{"regions in YAML", inYAML(`"`+run+`regions": "us-east1,europe-west1"`, "", ""), "REGION_APPROVED", deny},
		{"good regions in YAML", inYAML(`"`+run+`regions": "us-east1, us-west1"`, "", ""), "REGION_APPROVED", pass},
		{"regions in Terraform", replace(t, inTerraform("service", `"multi_region_settings": [{"regions": ["us-east1", "europe-west1"]}], `, ""),
			`"location": "us-east1"`, `"location": "global"`), "REGION_APPROVED", deny},
		{"good regions in Terraform", replace(t, inTerraform("service", `"multi_region_settings": [{"regions": ["us-east1", "us-west1"]}], `, ""),
			`"location": "us-east1"`, `"location": "global"`), "REGION_APPROVED", pass},
		{"checks off in YAML",
			replace(t, inYAML("", `"`+run+`health-check-disabled": "true"`, ""), `"name": "a", "image"`, `"startupProbe": {}, "image"`), "PROBES", warn},
		{"checks off in Terraform",
			inContainer(inTerraform("service", "", `"health_check_disabled": true, `), `"startup_probe": [{"tcp_socket": [{"port": 1}]}]`), "PROBES", warn},
		{"checks off with a liveness probe",
			inContainer(inV2("services", "", `"healthCheckDisabled": true, `), `"livenessProbe": {"httpGet": {"path": "/"}}`), "PROBES", pass},
		{"readiness alone", inContainer(inV2("services", "", ""), `"readinessProbe": {"httpGet": {"path": "/"}}`), "PROBES", warn},
		{"readiness alone in YAML", inContainer(inYAML("", "", ""), `"readinessProbe": {"httpGet": {"path": "/"}}`), "PROBES", warn},
		{"readiness alone in Terraform", inContainer(inTerraform("service", "", ""), `"readiness_probe": [{"http_get": [{"path": "/"}]}]`), "PROBES", warn},
		{"a header of readiness", inContainer(inV2("services", "", ""), probe("readinessProbe")), "SECRETS_BY_REFERENCE", deny},
		{"a header of readiness in YAML", inContainer(inYAML("", "", ""), probe("readinessProbe")), "SECRETS_BY_REFERENCE", deny},
		{"a header of startup in YAML", inContainer(inYAML("", "", ""), probe("startupProbe")), "SECRETS_BY_REFERENCE", deny},
		{"a header of readiness in Terraform", inContainer(inTerraform("service", "", ""), `"readiness_probe": [{"http_get": [{"http_headers": `+
			`[{"name": "X", "value": "`+token+`"}]}]}]`), "SECRETS_BY_REFERENCE", deny},
		{"base updates: S base-images", inYAML(`"`+run+`base-images": "{\"a\": \"go\"}"`, "", ""), "IMAGE_BY_DIGEST", deny},
		{"base updates: R base-images", inYAML("", `"`+run+`base-images": "{\"a\": \"go\"}"`, ""), "IMAGE_BY_DIGEST", deny},
		{"base updates: S build-enable", inYAML(`"`+run+`build-enable-automatic-updates": "true"`, "", ""), "IMAGE_BY_DIGEST", deny},
		{"base updates: older", inYAML(`"`+run+`enable-automatic-updates": "true"`, "", ""), "IMAGE_BY_DIGEST", deny},
		{"base updates: off", inYAML(`"`+run+`build-enable-automatic-updates": "false", "`+run+`build-base-image": "go"`, "", ""), "IMAGE_BY_DIGEST", pass},
		{"base updates: runtime class", inYAML("", "", `"runtimeClassName": "`+run+`linux-base-image-update", `), "IMAGE_BY_DIGEST", deny},
		{"base updates: baseImageUri", inContainer(inV2("services", "", ""), `"baseImageUri": "go"`), "IMAGE_BY_DIGEST", deny},
		{"base updates: base_image_uri", inContainer(inTerraform("service", "", ""), `"base_image_uri": "go"`), "IMAGE_BY_DIGEST", deny},
		{"base updates: build_config", inTerraform("service", `"build_config": [{"enable_automatic_updates": true}], `, ""), "IMAGE_BY_DIGEST", deny},
		{"base updates: build_config off",
			inTerraform("service", `"build_config": [{"enable_automatic_updates": false, "base_image": "go"}], `, ""), "IMAGE_BY_DIGEST", pass},
		{"source: R sources", inYAML("", `"`+run+`sources": "{\"a\": \"gs://b/o\"}"`, ""), "IMAGE_BY_DIGEST", deny},
		{"source: v2 with a generation",
			inContainer(inV2("services", "", ""), `"sourceCode": {"cloudStorageSource": {"bucket": "b", "object": "o", "generation": "1"}}`),
			"IMAGE_BY_DIGEST", deny},
		{"source: Terraform",
			inContainer(inTerraform("service", "", ""), `"source_code": [{"cloud_storage_source": [{"bucket": "b", "object": "o"}]}]`),
			"IMAGE_BY_DIGEST", deny},
		{"source: inlined",
			inContainer(inV2("services", "", ""), `"sourceCode": {"inlinedSource": {"sources": [{"filename": "a", "content": "`+token+`"}]}}`),
			"SECRETS_BY_REFERENCE", deny},
		{"build variables: S", inYAML(`"`+run+`build-environment-variables": "{\"K\": \"`+token+`\"}"`, "", ""), "SECRETS_BY_REFERENCE", deny},
		{"build variables: R build-config",
			inYAML("", `"`+run+`build-config": "{\"a\": {\"environmentVariables\": [{\"name\": \"NPM_TOKEN\", \"value\": \"hunter2\"}]}}"`, ""),
			"SECRETS_BY_REFERENCE", deny},
		{"build variables: a container's",
			inContainer(inV2("services", "", ""), `"buildConfig": {"environmentVariables": [{"name": "NPM_TOKEN", "value": "hunter2"}]}`),
			"SECRETS_BY_REFERENCE", deny},
		{"build variables: buildpacks",
			inContainer(inV2("services", "", ""), `"buildConfig": {"buildpacksBuild": {"environmentVariables": [{"name": "NPM_TOKEN", "value": "hunter2"}]}}`),
			"SECRETS_BY_REFERENCE", deny},
		{"build variables: Terraform",
			inTerraform("service", `"build_config": [{"environment_variables": {"NPM_TOKEN": "hunter2"}}], `, ""), "SECRETS_BY_REFERENCE", deny},
		{"build account: S", inYAML(`"`+run+`build-base-image": "go"`, "", ""), "BUILD_ACCOUNT", warn},
		{"build account: S, its own",
			inYAML(`"`+run+`build-service-account": "projects/p/serviceAccounts/b@p.iam.gserviceaccount.com"`, "", ""), "BUILD_ACCOUNT", pass},
		{"build account: R build-config", inYAML("", `"`+run+`build-config": "{\"a\": {}}"`, ""), "BUILD_ACCOUNT", warn},
		{"build account: a container's",
			inContainer(inV2("services", "", ""), `"buildConfig": {"serviceAccount": "1-compute@developer.gserviceaccount.com"}`), "BUILD_ACCOUNT", warn},
		{"build account: Terraform", inTerraform("service", `"build_config": [{"image_uri": "x"}], `, ""), "BUILD_ACCOUNT", warn},
		{"a sandbox in YAML", inYAML("", "", `"sandboxes": {"templates": [{"image": "nginx"}]}, `), "IMAGE_BY_DIGEST", deny},
		{"a sandbox in Terraform", inTerraform("service", "", `"sandboxes": [{"templates": [{"image": "nginx"}]}], `), "IMAGE_BY_DIGEST", deny},
		{"a sandbox of a job", inV2("jobs", "", `"sandboxes": {"templates": [{"image": "nginx"}]}, `), "IMAGE_BY_DIGEST", deny},
		{"a sandbox of a pool", inV2("workerPools", "", `"sandboxes": {"templates": [{"image": "nginx"}]}, `), "IMAGE_BY_DIGEST", deny},
		{"a sandbox's argument",
			inV2("services", "", `"sandboxes": {"templates": [{"image": "`+digestImage+`", "args": ["--token=`+token+`"]}]}, `),
			"SECRETS_BY_REFERENCE", deny},
		{"a launcher of anything, in YAML", inContainer(inYAML("", "", ""), `"sandboxLauncher": {}`), "IMAGE_BY_DIGEST", deny},
		{"a launcher of anything, in Terraform", inContainer(inTerraform("service", "", ""), `"sandbox_launcher": [{}]`), "IMAGE_BY_DIGEST", deny},
		{"an agent in YAML", inYAML("", `"`+run+`identity-type": "agent-identity"`, ""), "DEDICATED_SERVICE_ACCOUNT", pass},
		{"an agent in v2",
			inV2("services", "", `"workloadIdentityConfig": {"identityType": "IDENTITY_TYPE_AGENT_IDENTITY"}, `), "DEDICATED_SERVICE_ACCOUNT", pass},
		{"an agent that owns the project", agentPlan + owner(agent), "LEAST_PRIVILEGE", deny},
		{"an agent outside organisations that owns the project", agentPlan + owner(agentOfProject), "LEAST_PRIVILEGE", deny},
		{"another agent that owns the project", agentPlan + owner(strings.Replace(agent, "/a", "/b", 1)), "LEAST_PRIVILEGE", skipped},
		{"no invoker check, in YAML", inYAML(`"`+run+`invoker-iam-disabled": "true"`, "", ""), "INVOKER_AUTH", deny},
		{"no invoker check, in Terraform", inTerraform("service", `"invoker_iam_disabled": true, `, ""), "INVOKER_AUTH", deny},
		{"IAP for everybody", strings.TrimSuffix(inTerraform("service", `"iap_enabled": true, `, ""), "]}") + `, ` +
			resource("google_iap_web_cloud_run_service_iam_member", "x", `{"cloud_run_service_name": "a", `+
				`"location": "us-east1", "role": "roles/iap.httpsResourceAccessor", "member": "allUsers"}`) + `]}`, "INVOKER_AUTH", deny},
		{"egress all", inYAML("", `"`+run+`network-interfaces": "[{\"network\":\"n\"}]", "`+run+`vpc-access-egress": "all"`, ""), "STATIC_EGRESS_IP", pass},
		{"Direct VPC in Terraform",
			inTerraform("service", "", `"vpc_access": [{"network_interfaces": [{"network": "n"}], "egress": "ALL_TRAFFIC"}], `), "VPC_EGRESS", pass},
		{"ambient networking", inV2("services", "", `"ambientNetworking": {"enabled": true}, `), "VPC_EGRESS", deny},
		{"ingress none", inV2("services", `"ingress": "INGRESS_TRAFFIC_NONE", `, ""), "INGRESS_RESTRICTED", pass},
		{"scaling: S", inYAML(`"`+run+`minScale": "1", "`+run+`maxScale": "3"`, "", ""), "MAX_INSTANCES", pass},
		{"scaling: S minimum", inYAML(`"`+run+`minScale": "1"`, "", ""), "MIN_INSTANCES", pass},
		{"scaling: manual", inYAML(`"`+run+`scalingMode": "manual", "`+run+`manualInstanceCount": "2"`, "", ""), "MAX_INSTANCES", pass},
		{"scaling: manual, none", inV2("services", `"scaling": {"scalingMode": "MANUAL", "manualInstanceCount": 0}, `, ""), "MIN_INSTANCES", deny},
		{"scaling: of the service in Terraform",
			inTerraform("service", `"scaling": [{"min_instance_count": 1, "max_instance_count": 4}], `, ""), "MAX_INSTANCES", pass},
		{"a secret without items", inV2("services", "", `"volumes": [{"name": "s", "secret": {"secret": "s"}}], `), "SECRET_VERSION_PINNED", warn},
		{"a secret at latest in YAML",
			inYAML("", "", `"volumes": [{"name": "s", "secret": {"secretName": "s", "items": [{"key": "latest", "path": "p"}]}}], `),
			"SECRET_VERSION_PINNED", warn},
		{"a bucket to write in YAML",
			inYAML("", "", `"volumes": [{"name": "s", "csi": {"driver": "gcsfuse.run.googleapis.com"}}], `), "MOUNTS_READ_ONLY", warn},
		{"a bucket to read in YAML",
			inYAML("", "", `"volumes": [{"name": "s", "csi": {"driver": "gcsfuse.run.googleapis.com", "readOnly": true}}], `), "MOUNTS_READ_ONLY", pass},
		{"NFS without a VPC", inV2("services", "", `"volumes": [{"name": "s", "nfs": {"server": "10.0.0.2"}}], `), "NFS_PRIVATE", deny},
		{"NFS in Terraform",
			inTerraform("service", "", `"volumes": [{"name": "s", "nfs": [{"server": "10.0.0.2", "read_only": true}]}], `), "NFS_PRIVATE", deny},
		{"a database elsewhere, R", inYAML("", `"`+run+`cloudsql-instances": "p:europe-west1:d"`, ""), "DATABASE_REGION", warn},
		{"a database elsewhere, v2",
			inV2("services", "", `"volumes": [{"name": "s", "cloudSqlInstance": {"instances": ["p:europe-west1:d"]}}], `), "DATABASE_REGION", warn},
		{"a key's end: R",
			inYAML("", `"`+run+`encryption-key": "`+key+`", "`+run+`post-key-revocation-action-type": "prevent-new"`, ""),
			"KEY_REVOCATION", pass},
		{"a key's end: nothing", inYAML("", `"`+run+`encryption-key": "`+key+`"`, ""), "KEY_REVOCATION", warn},
		{"a key's end: a pool in Terraform",
			inTerraform("worker_pool", "", `"encryption_key": "`+key+`", "encryption_key_revocation_action": "SHUTDOWN", `),
			"KEY_REVOCATION", pass},
		{"a GPU alone", inContainer(inV2("services", "", ""), `"resources": {"limits": {"nvidia.com/gpu": "1"}}`), "RESOURCE_LIMITS", deny},
		{"egress by number", inV2("services", "", `"vpcAccess": {"connector": "c", "egress": 2}, `), "VPC_EGRESS", pass},
		{"inlined source allowed by an organisation", plan(resource("google_org_policy_policy", "x",
			`{"name": "projects/p/policies/run.managed.requireInvokerIam", "spec": [{"rules": [{"enforce": "FALSE"}]}]}`)), "ORGANIZATION_POLICIES", deny},
	} {
		in := posture.Input{Definitions: []posture.Source{source(tt.text)}}
		r, err := judge(t, builtin(t, "hipaa"), nil, in)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if tt.rule == "STATIC_EGRESS_IP" {
			r = mustJudge(t, builtin(t, "strict"), nil, in)
		}
		if got := worst(r, tt.rule); got != tt.want {
			t.Errorf("%s: %s is %q, want %s", tt.name, tt.rule, got, tt.want)
		}
	}
}

// TestAnnotationsThatAreNotRead: what an annotation should say by JSON and does not is no absence: it may name any account
// and hold any secret. The definition is refused, and so is a part of it that is of another type.
func TestAnnotationsThatAreNotRead(t *testing.T) {
	const run = "run.googleapis.com/"
	annotation := func(name, value string) string { return `"` + run + name + `": ` + strconv.Quote(value) }
	for _, tt := range []struct{ name, text, says string }{
		{"builds", inYAML("", annotation("build-config", `{"a": `), ""), run + "build-config must be a JSON map"},
		{"builds of the service", inYAML(annotation("build-config", "go"), "", ""), run + "build-config must be a JSON map"},
		{"a list of builds", inYAML("", annotation("build-config", `[{"serviceAccount": "x"}]`), ""), run + "build-config must be a JSON map"},
		{"two documents", inYAML("", annotation("build-config", "a: {}\n---\nb: {}"), ""), run + "build-config must be a JSON map"},
		{"a build that is no mapping", inYAML("", annotation("build-config", `{"a": "x"}`), ""), run + "build-config.a must be a mapping"},
		{"variables of a build in a wrong form", inYAML("", annotation("build-config", `{"a": {"environmentVariables": "TOKEN=x"}}`), ""),
			"environmentVariables must be a mapping"},
		{"variables", inYAML(annotation("build-environment-variables", `{"TOKEN": `), "", ""), run + "build-environment-variables must be a JSON map"},
		{"a variable that is no text", inYAML(annotation("build-environment-variables", `{"TOKEN": {"value": "x"}}`), "", ""),
			run + "build-environment-variables.TOKEN must be text"},
		{"variables of a service's build", inV2("services", `"buildConfig": {"environmentVariables": {"A": ["x"]}}, `, ""),
			"buildConfig.environmentVariables.A must be text"},
		{"networks", inYAML("", annotation("network-interfaces", "default"), ""), run + "network-interfaces must be a JSON list"},

		{"empty annotations", inYAML(annotation("build-environment-variables", ""), annotation("build-config", " "), ""), ""},
		{"empty maps", inYAML(annotation("build-environment-variables", "{}"), annotation("build-config", "{}"), ""), ""},
		{"no networks", inYAML("", annotation("network-interfaces", "[]"), ""), ""},
		{"variables without a value", inYAML(annotation("build-environment-variables", `{"A": null, "B": ""}`), "", ""), ""},
	} {
		_, err := judge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(tt.text)}})
		switch {
		case tt.says == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
			t.Errorf("%s: %v, want a refusal with %q", tt.name, err, tt.says)
		}
	}
}
