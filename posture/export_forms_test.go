package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// runService is a good service of Config Connector.
const runService = `apiVersion: run.cnrm.cloud.google.com/v1beta1
kind: RunService
metadata:
  name: api
  namespace: acme
spec:
  location: us-east1
  ingress: INGRESS_TRAFFIC_INTERNAL_ONLY
  invokerIAMDisabled: false
  binaryAuthorization: {useDefault: true}
  template:
    timeout: 60s
    maxInstanceRequestConcurrency: 80
    serviceAccountRef: {name: api}
    encryptionKeyRef: {external: projects/p/locations/l/keyRings/r/cryptoKeys/k}
    encryptionKeyRevocationAction: SHUTDOWN
    scaling: {minInstanceCount: 1, maxInstanceCount: 5}
    vpcAccess:
      networkInterfaces:
      - networkRef: {name: prod}
    containers:
    - image: ` + digestImage + `
      resources: {limits: {cpu: "1", memory: 512Mi}}
      startupProbe: {tcpSocket: {port: 8080}}
      env:
      - name: PASSWORD
        valueSource:
          secretKeyRef:
            secretRef: {external: db}
            versionRef: {external: "3"}
---
apiVersion: iam.cnrm.cloud.google.com/v1beta1
kind: IAMPolicy
metadata: {name: api, namespace: acme}
spec:
  resourceRef: {kind: RunService, name: api}
  bindings:
  - role: roles/run.invoker
    members: ["group:callers@acme.example"]
`

func connectorResource(group, kind, spec string) string {
	return "apiVersion: " + group + ".cnrm.cloud.google.com/v1beta1\nkind: " + kind + "\nmetadata: {name: x, namespace: acme}\nspec: " + spec + "\n"
}

// TestOneMeaningIsWrittenOnce: of two fields that mean the same nobody knows which counts, and the document is refused
// each time. A field without a value does not count, and keys that are data are no names of fields.
func TestOneMeaningIsWrittenOnce(t *testing.T) {
	network := func(fields string) string {
		return connectorResource("sql", "SQLInstance", "{settings: {ipConfiguration: {ipv4Enabled: false, "+fields+"}}}")
	}
	for _, tt := range []struct{ name, text, says string }{
		{"a name and a reference", network("privateNetwork: default, privateNetworkRef: {name: prod}"), "privateNetworkRef"},
		{"a reference and a name", network("privateNetworkRef: {name: prod}, privateNetwork: default"), "privateNetworkRef"},
		{"a name in two cases", replace(t, runService, "invokerIAMDisabled: false",
			"invokerIAMDisabled: false\n  invokerIamDisabled: true"), "invokerIamDisabled"},
		{"a name in snake case", connectorResource("compute", "ComputeSSLPolicy",
			"{minTlsVersion: TLS_1_2, min_tls_version: TLS_1_0}"), "min_tls_version"},
		{"an export", "name: projects/p/policies/x\nminTlsVersion: TLS_1_2\nmin_tls_version: TLS_1_0\n" +
			"kind: compute#sslPolicy\nprofile: MODERN\n", "min_tls_version"},
		{"a name without a value", network("privateNetwork: null, privateNetworkRef: {name: prod}"), ""},
		{"a reference alone", network("privateNetworkRef: {name: prod}"), ""},
		{"labels", replace(t, runService, "  template:\n", "  template:\n    labels: {TEAM: a, Team: b, x: c, xRef: d}\n"), ""},
	} {
		// The order of a map is another each time.
		for range 20 {
			in := posture.Input{Definitions: []posture.Source{source(tt.text)}}
			_, err := judge(t, builtin(t, "strict"), &attested{answer: true}, in)
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("%s: %v", tt.name, err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), `"`+tt.says+`" must be the only field`)):
				t.Errorf("%s: %v, want a refusal of %s", tt.name, err, tt.says)
			default:
				continue
			}
			break
		}
	}
}

// TestConfigConnector: documents of Config Connector are judged as what they make, with grants and references of their own.
func TestConfigConnector(t *testing.T) {
	const pass, deny, warn, skipped = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn, attestor.StatusSkipped
	edit := func(edits ...string) string { return replace(t, runService, edits...) }
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"ingress", edit("INTERNAL_ONLY", "ALL"), "INGRESS_RESTRICTED", deny},
		{"callers", runService, "INVOKER_AUTH", pass},
		{"no check of callers", edit("invokerIAMDisabled: false", "invokerIAMDisabled: true"), "INVOKER_AUTH", deny},
		{"everybody calls", edit("group:callers@acme.example", "allUsers"), "INVOKER_AUTH", deny},
		{"callers by an incomplete policy",
			edit("kind: IAMPolicy\n", "kind: IAMPartialPolicy\n", `members: ["group:callers@acme.example"]`,
				"members: [{member: group:callers@acme.example}]"), "INVOKER_AUTH", skipped},
		{"everybody by an incomplete policy",
			edit("kind: IAMPolicy\n", "kind: IAMPartialPolicy\n", `members: ["group:callers@acme.example"]`,
				"members: [{memberFrom: {serviceAccountRef: {name: a}}}, {member: allUsers}]"), "INVOKER_AUTH", deny},
		{"one more caller",
			runService + "---\n" + connectorResource("iam", "IAMPolicyMember", "{member: allAuthenticatedUsers, "+
				"role: roles/run.invoker, resourceRef: {kind: RunService, name: api}}"), "INVOKER_AUTH", deny},
		{"a caller of another service",
			runService + "---\n" + connectorResource("iam", "IAMPolicyMember", "{member: 'user:a@acme.example', "+
				"role: roles/run.invoker, resourceRef: {kind: RunService, name: web}}"), "INVOKER_AUTH", pass},
		{"everybody on the project", runService + "---\n" + connectorResource("iam", "IAMPolicyMember",
			"{member: allUsers, role: roles/run.invoker, resourceRef: {kind: Project, external: projects/acme}}"),
			"INVOKER_AUTH", deny},
		{"the account by reference", runService, "DEDICATED_SERVICE_ACCOUNT", pass},
		{"no account", edit("    serviceAccountRef: {name: api}\n", ""), "DEDICATED_SERVICE_ACCOUNT", deny},
		{"the default account", edit("{name: api}\n    encryption",
			"{external: 1-compute@developer.gserviceaccount.com}\n    encryption"),
			"DEDICATED_SERVICE_ACCOUNT", deny},
		{"a key", runService, "CMEK", pass},
		{"a key of the cluster", edit("{external: projects/p/locations/l/keyRings/r/cryptoKeys/k}", "{name: k}"), "CMEK", skipped},
		{"no key", edit("    encryptionKeyRef: {external: projects/p/locations/l/keyRings/r/cryptoKeys/k}\n", ""), "CMEK", deny},
		{"a version", runService, "SECRET_VERSION_PINNED", pass},
		{"the latest version", edit(`{external: "3"}`, "{external: projects/p/secrets/db/versions/latest}"), "SECRET_VERSION_PINNED", warn},
		{"an alias", edit(`{external: "3"}`, "{external: stable}"), "SECRET_VERSION_PINNED", warn},
		{"a network", runService, "NETWORK_OWN", pass},
		{"the default network", edit("{name: prod}", "{external: projects/p/global/networks/default}"), "NETWORK_OWN", warn},
		{"a tag", edit(digestImage, "nginx:1"), "IMAGE_BY_DIGEST", deny},
		{"a job", connectorResource("run", "RunJob", "{location: us-east1, template: {template: {containers: [{image: nginx}]}}}"), "IMAGE_BY_DIGEST", deny},
		{"a worker pool", connectorResource("run", "RunWorkerPool", "{location: us-east1, template: {containers: [{image: nginx}]}}"), "IMAGE_BY_DIGEST", deny},
		{"a kind of Cloud Run that is new", runService + "---\n" + connectorResource("run", "RunSandbox", "{}"), posture.InputComplete, attestor.StatusError},
		{"a cluster", runService + "---\n" + connectorResource("container", "ContainerCluster", "{}"), posture.InputComplete, skipped},
		{"a bucket", runService + "---\n" + connectorResource("storage", "StorageBucket", "{}"), posture.InputComplete, ""},
		{"an owner", connectorResource("iam", "IAMPolicyMember", "{member: 'user:a@acme.example', "+
			"role: roles/owner, resourceRef: {kind: Project, external: acme}}"), "NO_BASIC_ROLES", deny},
		{"an owner of the folder, by a whole policy",
			connectorResource("iam", "IAMPolicy", "{resourceRef: {kind: Folder, external: '1'}, "+
				"bindings: [{role: roles/editor, members: ['user:a@acme.example']}]}"), "NO_BASIC_ROLES", deny},
		{"a narrow role", connectorResource("iam", "IAMPolicyMember", "{member: 'user:a@acme.example', role: "+
			"roles/cloudtrace.agent, resourceRef: {kind: Project, external: acme}}"), "NO_BASIC_ROLES", pass},
		{"everybody reads a secret", connectorResource("iam", "IAMPolicyMember", "{member: allUsers, "+
			"role: roles/secretmanager.secretAccessor, resourceRef: {kind: SecretManagerSecret, name: s}}"),
			"NO_BASIC_ROLES", deny},
		{"a backend without a policy", connectorResource("compute", "ComputeBackendService", "{location: global}"), "CLOUD_ARMOR", deny},
		{"a backend with one", connectorResource("compute", "ComputeBackendService",
			"{location: global, securityPolicyRef: {name: edge}}"), "CLOUD_ARMOR", pass},
		{"a backend of a region", connectorResource("compute", "ComputeBackendService",
			"{location: us-east1, loadBalancingScheme: EXTERNAL_MANAGED}"), "CLOUD_ARMOR", deny},
		{"a security policy that denies nothing",
			connectorResource("compute", "ComputeSecurityPolicy", "{rule: [{action: allow, priority: 2147483647, "+
				"match: {versionedExpr: SRC_IPS_V1, config: {srcIpRanges: ['*']}}}]}"), "WAF_RULES", deny},
		{"a security policy that denies", connectorResource("compute", "ComputeSecurityPolicy", "{rule: [{action: "+
			"deny(403), priority: 1, match: {expr: {expression: \"evaluatePreconfiguredWaf('sqli-v33-stable') "+
			"|| evaluatePreconfiguredWaf('xss-v33-stable')\"}}}]}"), "WAF_RULES", pass},
		{"TLS 1.0", connectorResource("compute", "ComputeSSLPolicy", "{minTlsVersion: TLS_1_0}"), "TLS_BOUNDED", deny},
		{"a subnetwork", connectorResource("compute", "ComputeSubnetwork", "{region: us-east1, privateIpGoogleAccess: false}"), "PRIVATE_GOOGLE_ACCESS", deny},
		{"a public database", connectorResource("sql", "SQLInstance", "{settings: {ipConfiguration: {ipv4Enabled: true}}}"), "DATABASE_PRIVATE", deny},
		{"a private database", connectorResource("sql", "SQLInstance", "{settings: {ipConfiguration: {ipv4Enabled: "+
			"false, privateNetworkRef: {name: prod}}}}"), "DATABASE_PRIVATE", pass},
		{"a key to download", connectorResource("iam", "IAMServiceAccountKey", "{serviceAccountRef: {name: a}}"), "KEYLESS", deny},
		{"a provider for all", connectorResource("iam", "IAMWorkloadIdentityPoolProvider",
			"{oidc: {issuerUri: 'https://token.actions.githubusercontent.com'}}"), "KEYLESS", deny},
		{"admission of everything", connectorResource("binaryauthorization", "BinaryAuthorizationPolicy",
			"{defaultAdmissionRule: {evaluationMode: ALWAYS_ALLOW}}"), "ADMISSION_POLICY", deny},
		{"admission of what is attested", connectorResource("binaryauthorization", "BinaryAuthorizationPolicy",
			"{defaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, enforcementMode: "+
				"ENFORCED_BLOCK_AND_AUDIT_LOG, requireAttestationsBy: [{name: gate}]}}"), "ADMISSION_POLICY", pass},
		{"a laxer cluster", connectorResource("binaryauthorization", "BinaryAuthorizationPolicy",
			"{clusterAdmissionRules: {us-east1.lab: {evaluationMode: ALWAYS_ALLOW}}, defaultAdmissionRule: "+
				"{evaluationMode: REQUIRE_ATTESTATION, requireAttestationsBy: [{name: gate}]}}"),
			"ADMISSION_POLICY", deny},
		{"a perimeter with an open level", connectorResource("accesscontextmanager",
			"AccessContextManagerServicePerimeter", "{status: {resources: [{projectRef: {external: "+
				"projects/1}}], accessLevels: [{name: x}], restrictedServices: [artifactregistry.googleapis.com, "+
				"cloudkms.googleapis.com, containeranalysis.googleapis.com]}}") + "---\n" +
			connectorResource("accesscontextmanager", "AccessContextManagerAccessLevel",
				"{basic: {conditions: [{ipSubnetworks: [0.0.0.0/0]}]}}"), "SERVICE_PERIMETER", deny},
		{"a perimeter", connectorResource("accesscontextmanager", "AccessContextManagerServicePerimeter",
			"{status: {resources: [{projectRef: {external: projects/1}}], restrictedServices: "+
				"[artifactregistry.googleapis.com, cloudkms.googleapis.com, containeranalysis.googleapis.com]}}"),
			"SERVICE_PERIMETER", pass},
		{"no scans", connectorResource("artifactregistry", "ArtifactRegistryRepository",
			"{vulnerabilityScanningConfig: {enablementConfig: DISABLED}}"), "IMAGES_SCANNED", deny},
		{"a function for all", connectorResource("cloudfunctions2", "CloudFunctions2Function",
			"{location: us-east1, serviceConfig: {ingressSettings: ALLOW_ALL}}"), "INGRESS_RESTRICTED", deny},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.name, tt.rule, worst(r, tt.rule), tt.want)
		}
	}

	// A controller takes back what a command changes, so that the fix is in the form of the document.
	f := finding(t, hipaa(t, edit("    serviceAccountRef: {name: api}\n", "")), "DEDICATED_SERVICE_ACCOUNT")
	if want := "in the YAML: spec: {template: {serviceAccountRef: {external: "; !strings.HasPrefix(f.Fix, want) || strings.Contains(f.Fix, "gcloud") {
		t.Errorf("fix %q, want %q…", f.Fix, want)
	}
}

// TestState: a state is what there is, in both forms; a resource in it may have grants from elsewhere.
func TestState(t *testing.T) {
	const good = `"project": "acme", "location": "us-east1", "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", ` +
		`"template": [{"containers": [{"image": "` + digestImage + `"}]}]`
	shown := func(values string) string {
		return `{"format_version": "1.0", "terraform_version": "1.9.8",
			"values": {"root_module": {"resources": [{"address": "google_project_iam_member.a", "mode": "managed",
			"type": "google_project_iam_member", "values": {"role": "roles/cloudtrace.agent", "member": "user:a@acme.example"}}],
  "child_modules": [{"address": "module.run",
  	"resources": [{"address": "module.run.google_cloud_run_v2_service.api[\"a\"]", "mode": "managed",
  	"type": "google_cloud_run_v2_service", "name": "api", "values": {"name": "api", ` +
			values + `}}]}]}}}`
	}
	raw := func(values string) string {
		return `{"version": 4, "terraform_version": "1.9.8", "serial": 3, "lineage": "f1",
			"resources": [{"module": "module.run", "mode": "managed", "type": "google_cloud_run_v2_service", "name": "api", "provider": "p",
  "instances": [{"index_key": "a", "schema_version": 1, "attributes": {"name": "api", ` + values + `}}]}, {"mode": ` +
			`"data", "type": "google_project", "name": "p", "instances": [{"attributes": {}}]}]}`
	}
	for name, state := range map[string]func(string) string{"shown": shown, "file": raw} {
		r := hipaa(t, state(good))
		for rule, want := range map[string]attestor.Status{"INGRESS_RESTRICTED": attestor.StatusPass,
			"IMAGE_BY_DIGEST": attestor.StatusPass, "INVOKER_AUTH": attestor.StatusSkipped} {
			if got := worst(r, rule); got != want {
				t.Errorf("%s: %s is %s, want %s", name, rule, got, want)
			}
		}
		if r = hipaa(t, state(replace(t, good, "INTERNAL_ONLY", "ALL"))); worst(r, "INGRESS_RESTRICTED") != attestor.StatusDeny {
			t.Errorf("%s: an open service is %s", name, worst(r, "INGRESS_RESTRICTED"))
		}
	}
	public := strings.Replace(shown(good), "google_project_iam_member.a\"", "google_cloud_run_v2_service_iam_member.a\"", 1)
	public = strings.Replace(public, `"google_project_iam_member", "values": {"role": "roles/cloudtrace.agent", `+
		`"member": "user:a@acme.example"`, `"google_cloud_run_v2_service_iam_member", "values": {"name": "api", `+
		`"role": "roles/run.invoker", "member": "allUsers"`, 1)
	if got := worst(hipaa(t, public), "INVOKER_AUTH"); got != attestor.StatusDeny {
		t.Errorf("a public service of a state: %s", got)
	}
	// A service in modules that are nested too deep would be judged by nobody.
	deep := strings.Repeat(`{"child_modules": [`, 30) + `{"resources": [{"address": "google_cloud_run_v2_service.api", "mode": "managed", ` +
		`"type": "google_cloud_run_v2_service", "name": "api", "values": {"name": "api"}}]}` + strings.Repeat(`]}`, 30)
	for name, text := range map[string]string{
		"modules too deep": strings.TrimSuffix(shown(good), `]}]}}}`) + `]}, ` + deep + `]}}}`,
		"nothing in it":    `{"format_version": "1.0", "terraform_version": "1.9.8"}`,
		"no resources":     `{"format_version": "1.0", "values": {"root_module": {}}}`,
		"an old Terraform": `{"version": 3, "lineage": "x", "resources": [{"type": "google_cloud_run_v2_service", ` +
			`"name": "a", "instances": [{"attributes_flat": {}}]}]}`,
	} {
		if _, err := judge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(text)}}); !isInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSingleExports: what gcloud prints of one resource is judged by the rules about it, in YAML and in JSON.
func TestSingleExports(t *testing.T) {
	const pass, deny, warn = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn
	armor := func(rules string) string {
		return "kind: compute#securityPolicy\nname: edge\ntype: CLOUD_ARMOR\nrules: [" + rules + "]\n"
	}
	const denies = `{action: deny(403), priority: 1, preview: false, match: {expr: {expression: ` +
		`"evaluatePreconfiguredWaf('sqli-v33-stable') || evaluatePreconfiguredWaf('xss-v33-stable')"}}}`
	const allows = `{action: allow, priority: 2147483647, match: {versionedExpr: SRC_IPS_V1, config: {srcIpRanges: ['*']}}}`
	perimeter := func(more string) string {
		return `{"name": "accessPolicies/1/servicePerimeters/p", "title": "p", ` +
			`"status": {"resources": ["projects/1"], "restrictedServices": ["artifactregistry.googleapis.com", ` +
			`"cloudkms.googleapis.com", "containeranalysis.googleapis.com"]` + more + `}}`
	}
	binauthz := func(more string) string {
		return "name: projects/acme/policy\nglobalPolicyEvaluationMode: ENABLE\n" +
			"defaultAdmissionRule: {enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG, " +
			"evaluationMode: REQUIRE_ATTESTATION, requireAttestationsBy: [projects/acme/attestors/gate]}\n" + more
	}
	policies := func(ingress string) string {
		return `[{"name": "organizations/1/policies/run.allowedIngress", "spec": ` + ingress +
			`}, {"name": "organizations/1/policies/run.allowedVPCEgress", "spec": {"rules": [{"values": {"allowedValues": ["all-traffic"]}}]}},
  {"constraint": "constraints/run.allowedBinaryAuthorizationPolicies", "listPolicy": {"allowedValues": ["default"]}, "etag": "x"}]`
	}
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"a security policy", armor(denies + ", " + allows), "WAF_RULES", pass},
		{"a security policy in another order", armor(allows + ", " + denies), "WAF_RULES", pass},
		{"a security policy that allows first", armor(denies + ", " + strings.Replace(allows, "2147483647", "0", 1)), "WAF_RULES", deny},
		{"a security policy in preview", armor(strings.Replace(denies, "preview: false", "preview: true", 1) + ", " + allows), "WAF_RULES", deny},
		{"a security policy without a limit", armor(denies + ", " + allows), "RATE_LIMITED", deny},
		{"a regional security policy", armor(allows) + "region: https://www.googleapis.com/compute/v1/projects/acme/regions/us-east1\n", "WAF_RULES", deny},
		{"Binary Authorization", binauthz(""), "ADMISSION_POLICY", pass},
		{"a laxer cluster", binauthz("clusterAdmissionRules: {us-east1.lab: {evaluationMode: ALWAYS_ALLOW, " +
			"enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}}\n"), "ADMISSION_POLICY", deny},
		{"a laxer namespace", binauthz("kubernetesNamespaceAdmissionRules: {lab: {evaluationMode: ALWAYS_ALLOW}}\n"), "ADMISSION_POLICY", deny},
		{"a whole registry", binauthz("admissionWhitelistPatterns: [{namePattern: gcr.io/acme/*}]\n"), "ADMISSION_POLICY", deny},
		{"Binary Authorization in dry run", strings.Replace(binauthz(""), "ENFORCED_BLOCK_AND_AUDIT_LOG",
			"DRYRUN_AUDIT_LOG_ONLY", 1), "ADMISSION_POLICY", warn},
		{"organisation policies", policies(`{"rules": [{"values": {"allowedValues": ["internal"]}}]}`), "ORGANIZATION_POLICIES", pass},
		{"everything allowed", policies(`{"rules": [{"allowAll": true}]}`), "ORGANIZATION_POLICIES", deny},
		{"an exception by a tag", policies(`{"rules": [{"values": {"allowedValues": ["internal"]}}, ` +
			`{"allowAll": true, "condition": {"expression": "resource.matchTag('1/public', 'true')"}}]}`),
			"ORGANIZATION_POLICIES", pass},
		{"an exception for all", policies(`{"rules": [{"values": {"allowedValues": ["internal"]}}, ` +
			`{"allowAll": true, "condition": {"expression": "true"}}]}`), "ORGANIZATION_POLICIES", deny},
		{"a policy that is reset", policies(`{"reset": true}`), "ORGANIZATION_POLICIES", deny},
		{"an older policy that allows all",
			strings.Replace(policies(`{"rules": [{"values": {"allowedValues": ["internal"]}}]}`),
				`"listPolicy": {"allowedValues": ["default"]}`, `"listPolicy": {"allValues": "ALLOW"}`, 1),
			"ORGANIZATION_POLICIES", deny},
		{"one of three", `{"name": "projects/1/policies/run.allowedIngress", ` +
			`"spec": {"rules": [{"values": {"allowedValues": ["internal"]}}]}}`, "ORGANIZATION_POLICIES", deny},
		{"a perimeter", perimeter(""), "SERVICE_PERIMETER", pass},
		{"a perimeter with a way out", perimeter(`, "egressPolicies": [{"egressFrom": {"identityType": ` +
			`"ANY_IDENTITY"}, "egressTo": {"resources": ["*"], "operations": [{"serviceName": "*"}]}}]`),
			"SERVICE_PERIMETER", deny},
		{"a perimeter in dry run", strings.Replace(perimeter(""), `"status"`, `"useExplicitDryRunSpec": true, "spec"`, 1), "SERVICE_PERIMETER", warn},
		{"a database", `{"kind": "sql#instance", "name": "db", "region": "us-east1", "settings": {"ipConfiguration": ` +
			`{"ipv4Enabled": true, "privateNetwork": "n", "sslMode": "ENCRYPTED_ONLY"}}}`, "DATABASE_PRIVATE", deny},
		{"a private database", `{"kind": "sql#instance", "name": "db", "region": "us-east1", "settings": ` +
			`{"ipConfiguration": {"ipv4Enabled": false, "privateNetwork": "n"}}}`, "DATABASE_PRIVATE", pass},
		{"a backend", "kind: compute#backendService\nname: b\nloadBalancingScheme: EXTERNAL_MANAGED\n", "CLOUD_ARMOR", deny},
		{"a backend with a policy", "kind: compute#backendService\nname: b\n" +
			"securityPolicy: https://www.googleapis.com/compute/v1/projects/acme/global/securityPolicies/edge\n",
			"CLOUD_ARMOR", pass},
		{"a proxy without an SSL policy", "kind: compute#targetHttpsProxy\nname: p\nurlMap: m\n", "TLS_BOUNDED", deny},
		{"a proxy for plain HTTP", "kind: compute#targetHttpProxy\nname: p\nurlMap: m\n---\nkind: compute#urlMap\n" +
			"name: m\ndefaultService: b\n", "TLS_BOUNDED", deny},
		{"a proxy that redirects", "kind: compute#targetHttpProxy\nname: p\nurlMap: m\n---\nkind: compute#urlMap\n" +
			"name: m\ndefaultUrlRedirect: {httpsRedirect: true}\ntests: [{service: b}]\n", "TLS_BOUNDED", pass},
		{"a subnetwork", "kind: compute#subnetwork\nname: s\nprivateIpGoogleAccess: false\npurpose: PRIVATE\n", "PRIVATE_GOOGLE_ACCESS", deny},
		{"a published service", "kind: compute#serviceAttachment\nname: s\nregion: us-east1\n" +
			"connectionPreference: ACCEPT_AUTOMATIC\n", "PRIVATE_SERVICE_CONNECT", deny},
		{"a provider", "name: projects/1/locations/global/workloadIdentityPools/p/providers/g\n" +
			"oidc: {issuerUri: 'https://token.actions.githubusercontent.com'}\nstate: ACTIVE\n", "KEYLESS", deny},
		{"a provider with a condition", "name: projects/1/locations/global/workloadIdentityPools/p/providers/g\n" +
			"attributeCondition: assertion.repository_owner == 'acme'\n" +
			"oidc: {issuerUri: 'https://token.actions.githubusercontent.com'}\n", "KEYLESS", pass},
		{"a repository", "name: projects/acme/locations/us/repositories/r\nformat: DOCKER\n" +
			"vulnerabilityScanningConfig: {enablementConfig: DISABLED}\n", "IMAGES_SCANNED", deny},
		{"a policy of a service", `{"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}], "etag": "x"}`, "INVOKER_AUTH", deny},
		{"a policy of a project", "bindings:\n- members: [user:a@acme.example]\n  role: roles/owner\netag: x\n", "NO_BASIC_ROLES", deny},
		{"a policy beside its service", sample(t, "hardened.yaml") + "---\nbindings:\n- members: [allUsers]\n" +
			"  role: roles/run.invoker\netag: x\n", "INVOKER_AUTH", deny},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.name, tt.rule, worst(r, tt.rule), tt.want)
		}
	}

	// A policy without such a grant is evidence that belongs to --iam, and passes nothing by itself.
	const group = "bindings:\n- members: [group:a@acme.example]\n  role: roles/run.invoker\netag: x\n"
	for _, text := range []string{group, sample(t, "hardened.yaml") + "---\n" + group} {
		if _, err := judge(t, builtin(t, "hipaa"), nil,
			posture.Input{Definitions: []posture.Source{source(text)}}); !isInvalid(err) ||
			!strings.Contains(err.Error(), "--iam") {
			t.Errorf("a policy for a group: %v", err)
		}
	}

	// A router lists its gateways: their addresses count for the workloads of its network.
	service := strings.Replace(runService, "vpcAccess:\n", "vpcAccess:\n      egress: ALL_TRAFFIC\n", 1)
	router := "---\nkind: compute#router\nname: r\nregion: regions/us-east1\nnetwork: global/networks/prod\nnats: [{name: n, natIpAllocateOption: AUTO_ONLY}]\n"
	r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(service + router)}})
	if got := worst(r, "STATIC_EGRESS_IP"); got != deny {
		t.Errorf("a gateway with addresses of Google's: %s", got)
	}
}
