package posture_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// configured is a plan whose configuration says what its references are to.
func configured(configuration string, resources ...string) string {
	return strings.TrimSuffix(plan(resources...), "}") + `, "configuration": {"root_module": ` + configuration + `}}`
}

// refers is a resource of a configuration whose attribute refers to another.
func refers(address, attribute, to string) string {
	return fmt.Sprintf(`{"address": %q, "expressions": {%q: {"references": ["%s.id", %q]}}}`, address, attribute, to, to)
}

const apiService = `{"name": "api", "project": "acme", "location": "us-east1"}`

// TestWhoMayCall: whoever grants everybody a role that may invoke, at whatever level and in whatever notation, makes the service
// public.
func TestWhoMayCall(t *testing.T) {
	const pass, deny, missing = attestor.StatusPass, attestor.StatusDeny, attestor.StatusSkipped
	service := resource("google_cloud_run_v2_service", "api", apiService)
	for _, tt := range []struct {
		name, grant string
		want        attestor.Status
	}{
		{"nobody", "", pass},
		{"a group", resource("google_cloud_run_v2_service_iam_member", "x",
			`{"name": "api", "role": "roles/run.invoker", "member": "group:a@acme.example"}`), pass},
		{"everybody in another notation", resource("google_cloud_run_v2_service_iam_member", "x",
			`{"name": "api", "role": "roles/run.invoker", "member": "principalSet://goog/public:all"}`), deny},
		{"by the whole name", resource("google_cloud_run_v2_service_iam_member", "x", `{"name": "projects/acme/`+
			`locations/us-east1/services/api", "role": "roles/run.invoker", "member": "allUsers"}`), deny},
		{"by the older resource", resource("google_cloud_run_service_iam_binding", "x",
			`{"service": "api", "role": "roles/run.invoker", "members": ["allUsers"]}`), deny},
		{"under a condition", resource("google_cloud_run_v2_service_iam_member", "x", `{"name": "api", `+
			`"role": "roles/run.invoker", "member": "allUsers", "condition": [{"expression": "true"}]}`), deny},
		{"a role of its own on the service", resource("google_cloud_run_v2_service_iam_member", "x",
			`{"name": "api", "role": "projects/acme/roles/caller", "member": "allUsers"}`), deny},
		{"a role of its own on the project", resource("google_project_iam_member", "x",
			`{"project": "acme", "role": "projects/acme/roles/caller", "member": "allUsers"}`), deny},
		{"the project by its number", resource("google_project_iam_member", "x",
			`{"project": "123456789012", "role": "roles/run.invoker", "member": "allUsers"}`), deny},
		{"another project", resource("google_project_iam_member", "x", `{"project": "other", "role": "roles/run.invoker", "member": "allUsers"}`), pass},
		{"a role for something else", resource("google_project_iam_member", "x",
			`{"project": "acme", "role": "roles/storage.objectViewer", "member": "allUsers"}`), pass},
		{"the folder", resource("google_folder_iam_binding", "x",
			`{"folder": "folders/1", "role": "roles/run.admin", "members": ["allAuthenticatedUsers"]}`), deny},
		{"the organisation, a whole policy", resource("google_organization_iam_policy", "x", `{"org_id": "1", `+
			`"policy_data": "{\"bindings\": [{\"role\": \"roles/run.invoker\", \"members\": [\"allUsers\"]}]}"}`),
			deny},
		{"the service of another project",
			resource("google_cloud_run_v2_service_iam_member", "x", `{"name": "api", "project": "other", `+
				`"location": "us-east1", "role": "roles/run.invoker", "member": "user:a@acme.example"}`), pass},
		{"a member that is not known", resourceUnknown("google_cloud_run_v2_service_iam_member", "x",
			`{"name": "api", "role": "roles/run.invoker"}`, `{"member": true}`), missing},
		{"a policy that is not known", resourceUnknown("google_cloud_run_v2_service_iam_policy", "x", `{"name": "api"}`, `{"policy_data": true}`), missing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := hipaa(t, plan(strings.Trim(service+", "+tt.grant, ", ")))
			if got := worst(r, "INVOKER_AUTH"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestReferencesOfAConfiguration: a grant, a rule or a load balancer counts for what its expression names, through modules, and for
// nothing else.
func TestReferencesOfAConfiguration(t *testing.T) {
	two := resource("google_cloud_run_v2_service", "api", apiService) + ", " + resource("google_cloud_run_v2_service",
		"web", strings.Replace(apiService, "api", "web", 1))
	grant := resourceUnknown("google_cloud_run_v2_service_iam_member", "x", `{"role": "roles/run.invoker", "member": "allUsers"}`, `{"name": true}`)
	inModule := strings.Replace(grant, `"address": "google`, `"address": "module.public.google`, 1)
	for name, tt := range map[string]struct {
		text     string
		api, web attestor.Status
	}{
		"a reference": {configured(`{"resources": [`+refers("google_cloud_run_v2_service_iam_member.x", "name",
			"google_cloud_run_v2_service.web")+`]}`, two, grant), attestor.StatusPass, attestor.StatusDeny},
		"through a module": {configured(`{"module_calls": {"public": {"expressions": {"service": {"references": `+
			`["google_cloud_run_v2_service.api.name"]}}, "module": {"resources": [`+
			refers("google_cloud_run_v2_service_iam_member.x", "name", "var.service")+`]}}}}`, two, inModule), attestor.StatusDeny, attestor.StatusPass},
		"without a configuration": {plan(two, grant), attestor.StatusDeny, attestor.StatusDeny},
	} {
		r := hipaa(t, tt.text)
		for _, f := range r.Findings {
			if want := map[string]attestor.Status{"acme/us-east1/api": tt.api,
				"acme/us-east1/web": tt.web}[f.Service]; f.Rule == "INVOKER_AUTH" && f.Status != want {
				t.Errorf("%s: %s is %s, want %s", name, f.Service, f.Status, want)
			}
		}
	}

	// Rules in resources of their own, for one of two policies.
	sqli := resourceUnknown("google_compute_security_policy_rule", "s",
		armorRule("1", "deny(403)", "evaluatePreconfiguredWaf('sqli-v33-stable')"), `{"security_policy": true}`)
	xss := resourceUnknown("google_compute_security_policy_rule", "x",
		armorRule("2", "deny(403)", "evaluatePreconfiguredWaf('xss-v33-stable')"), `{"security_policy": true}`)
	policies := resource("google_compute_security_policy", "a", `{"name": "a", "rule": []}`)
	closed := resource("google_compute_security_policy", "closed", `{"name": "closed", "rule": [`+armorRule("1", "deny(403)", `"*"`)+`]}`)
	guarded := `{"resources": [` + refers("google_compute_security_policy_rule.s", "security_policy",
		"google_compute_security_policy.a") + `, ` + refers("google_compute_security_policy_rule.x",
		"security_policy", "google_compute_security_policy.%s") + `]}`
	for to, want := range map[string]attestor.Status{"a": attestor.StatusPass, "closed": attestor.StatusDeny} {
		if got := worst(hipaa(t, configured(fmt.Sprintf(guarded, to), policies, closed, sqli, xss)), "WAF_RULES"); got != want {
			t.Errorf("the second rule in %s: %s, want %s", to, got, want)
		}
	}
}

// TestEveryKindOfContainer: whatever starts an image is judged for it.
func TestEveryKindOfContainer(t *testing.T) {
	v2 := func(more string) string {
		return `{"name": "projects/acme/locations/us-east1/services/a", "template": {"containers": [{"image": "` + digestImage + `"` + more + `}]}}`
	}
	sandbox := func(image string) string {
		return strings.Replace(v2(`, "sandboxLauncher": {}`), `"template": {`, `"template": {"sandboxes": `+
			`{"templates": [{"image": "`+image+`", "env": [{"name": "API_TOKEN", "value": "hunter2"}]}]}, `, 1)
	}
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"an image", v2(""), "IMAGE_BY_DIGEST", pass},
		{"a sandbox by tag", sandbox("nginx:1"), "IMAGE_BY_DIGEST", deny},
		{"a sandbox by digest", sandbox(digestImage), "IMAGE_BY_DIGEST", pass},
		{"a sandbox's secret", sandbox(digestImage), "SECRETS_BY_REFERENCE", deny},
		{"a launcher of anything", v2(`, "sandboxLauncher": {}`), "IMAGE_BY_DIGEST", deny},
		{"source code", v2(`, "sourceCode": {"cloudStorageSource": {"bucket": "b", "object": "o"}}`), "IMAGE_BY_DIGEST", deny},
		{"inlined source with a key", v2(`, "sourceCode": {"inlinedSource": {"sources": [{"filename": "a.py", ` +
			`"content": "k = 'ghp_abcdefghijklmnopqrstuvwxyz0123456789'"}]}}`), "SECRETS_BY_REFERENCE", deny},
		{"an instance", `{"name": "projects/acme/locations/us-east1/instances/a", "containers": [{"image": "nginx"}]}`, "IMAGE_BY_DIGEST", deny},
		{"an instance for all", `{"instances": [{"name": "projects/acme/locations/us-east1/instances/a", ` +
			`"ingress": 1, "containers": [{"image": "nginx"}]}]}`, "INGRESS_RESTRICTED", deny},
		{"an instance with a shell", plan(resource("google_cloud_run_v2_instance", "a",
			`{"name": "a", "ssh_enabled": true, "containers": [{"image": "nginx"}]}`)), "SHELL_DISABLED", deny},
		{"an instance in YAML", "apiVersion: run.googleapis.com/v1\nkind: Instance\n" +
			"metadata: {name: a, annotations: {run.googleapis.com/ingress: all}}\n" +
			"spec: {containers: [{image: nginx}]}\n", "INGRESS_RESTRICTED", deny},
		{"source in YAML", replace(t, sample(t, "hardened.yaml"), "autoscaling.knative.dev/minScale",
			"run.googleapis.com/sources: '{\"\":\"gs://b/o\"}'\n        autoscaling.knative.dev/minScale"),
			"IMAGE_BY_DIGEST", deny},
		{"a function", plan(resource("google_cloudfunctions2_function", "f", `{"name": "f", "location": `+
			`"us-east1", "service_config": [{"ingress_settings": "ALLOW_ALL"}]}`)), "INGRESS_RESTRICTED", deny},
		{"a function for all", plan(resource("google_cloudfunctions2_function", "f", `{"name": "f"}`),
			resource("google_cloudfunctions2_function_iam_member", "x", `{"cloud_function": "f", `+
				`"role": "roles/cloudfunctions.invoker", "member": "allUsers"}`)), "INVOKER_AUTH", deny},
		{"a function's service for all", plan(resource("google_cloudfunctions2_function", "f", `{"name": "f"}`),
			resource("google_cloud_run_service_iam_member", "x",
				`{"service": "f", "role": "roles/run.invoker", "member": "allUsers"}`)), "INVOKER_AUTH", deny},
		{"a function's password", plan(resource("google_cloudfunctions2_function", "f",
			`{"name": "f", "service_config": [{"environment_variables": {"DB_PASSWORD": "hunter2"}}]}`)),
			"SECRETS_BY_REFERENCE", deny},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s: %s", tt.name, tt.rule, worst(r, tt.rule), finding(t, r, tt.rule).Message)
		}
	}
}

// TestWaysIn: what leads to a service, and what stands in each way.
func TestWaysIn(t *testing.T) {
	const pass, deny, missing = attestor.StatusPass, attestor.StatusDeny, attestor.StatusSkipped
	redirect := resource("google_compute_url_map", "redirect", `{"name": "redirect", "default_url_redirect": [{"https_redirect": true}]}`)
	serve := resource("google_compute_url_map", "serve", `{"name": "serve", "default_service": "b"}`)
	plain := resource("google_compute_target_http_proxy", "http", `{"name": "http", "url_map": "%s"}`)
	front := func(service string) string {
		return resource("google_compute_region_network_endpoint_group", "g", `{"name": "g", "region": "us-east1", "cloud_run": [`+service+`]}`)
	}
	service := resource("google_cloud_run_v2_service", "api", apiService)
	backend := resource("google_compute_backend_service", "b", `{"name": "b", "security_policy": "p", "iap": [{"enabled": true}]}`)
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"HTTP that redirects", plan(redirect, serve, fmt.Sprintf(plain, "redirect")), "TLS_BOUNDED", pass},
		{"HTTP that serves", plan(redirect, serve, fmt.Sprintf(plain, "serve")), "TLS_BOUNDED", deny},
		{"HTTP that redirects some", plan(strings.Replace(redirect, `"default_url_redirect"`,
			`"path_matcher": [{"default_service": "b"}], "default_url_redirect"`, 1),
			fmt.Sprintf(plain, "redirect")), "TLS_BOUNDED", deny},
		{"HTTP that redirects to HTTP", plan(strings.Replace(redirect, "true", "false", 1), fmt.Sprintf(plain, "redirect")), "TLS_BOUNDED", deny},
		{"regional HTTP", plan(resource("google_compute_region_url_map", "m", `{"name": "m", "default_service": "b"}`),
			resource("google_compute_region_target_http_proxy", "p", `{"url_map": "m"}`)), "TLS_BOUNDED", deny},
		{"HTTP to a map elsewhere", plan(fmt.Sprintf(plain, "elsewhere")), "TLS_BOUNDED", missing},
		{"HTTP to one of two maps", plan(redirect, serve, resourceUnknown("google_compute_target_http_proxy", "http",
			`{"name": "http"}`, `{"url_map": true}`)), "TLS_BOUNDED", missing},
		{"a policy of the wrong type", plan(backend, resource("google_compute_security_policy", "p",
			`{"name": "p", "type": "CLOUD_ARMOR_EDGE"}`)), "CLOUD_ARMOR", deny},

		{"fronted by name", plan(service, front(`{"service": "api"}`)), "DEFAULT_URL_DISABLED", deny},
		{"fronted by a mask", plan(service, front(`{"url_mask": "<service>.acme.example"}`)), "DEFAULT_URL_DISABLED", deny},
		{"fronted in another region", plan(service, strings.Replace(front(`{"service": "api"}`), "us-east1", "us-west1", 1)), "DEFAULT_URL_DISABLED", missing},
		{"another is fronted", plan(service, front(`{"service": "web"}`)), "DEFAULT_URL_DISABLED", missing},
		{"a domain mapping past the load balancer", plan(strings.Replace(service, `"location"`,
			`"default_uri_disabled": true, "location"`, 1), front(`{"service": "api"}`),
			resource("google_cloud_run_domain_mapping", "d", `{"name": "api.acme.example", "spec": [{"route_name": "api"}]}`)), "DEFAULT_URL_DISABLED", deny},

		{"IAP at a backend", plan(backend), "IDENTITY_AWARE_PROXY", pass},
		{"IAP on the service", plan(strings.Replace(service, `"location"`, `"iap_enabled": true, "location"`, 1),
			resource("google_iap_web_cloud_run_service_iam_member", "x", `{"cloud_run_service_name": "api", `+
				`"role": "roles/iap.httpsResourceAccessor", "member": "group:a@acme.example"}`)),
			"IDENTITY_AWARE_PROXY", pass},
		{"IAP for everybody", plan(backend, resource("google_iap_web_backend_service_iam_binding", "x",
			`{"web_backend_service": "b", "role": "roles/iap.httpsResourceAccessor", `+
				`"members": ["allAuthenticatedUsers"]}`)), "IDENTITY_AWARE_PROXY", attestor.StatusWarn},
		{"a proxy that everybody passes", plan(strings.Replace(service, `"location"`,
			`"iap_enabled": true, "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "location"`, 1),
			resource("google_cloud_run_v2_service_iam_member", "y", `{"name": "api", "role": "roles/run.invoker", "member": "allUsers"}`),
			resource("google_iap_web_cloud_run_service_iam_member", "x", `{"cloud_run_service_name": "api", `+
				`"role": "roles/iap.httpsResourceAccessor", "member": "allUsers"}`)), "INVOKER_AUTH", deny},
		{"Private Service Connect for named consumers", plan(resource("google_compute_service_attachment", "s",
			`{"connection_preference": "ACCEPT_MANUAL"}`)), "PRIVATE_SERVICE_CONNECT", pass},
		{"Private Service Connect for all", plan(resource("google_compute_service_attachment", "s",
			`{"connection_preference": "ACCEPT_AUTOMATIC"}`)), "PRIVATE_SERVICE_CONNECT", deny},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s: %s", tt.name, tt.rule, worst(r, tt.rule), finding(t, r, tt.rule).Message)
		}
	}
}

// TestConditionsByContent: a condition that always holds restricts nothing.
func TestConditionsByContent(t *testing.T) {
	for condition, want := range map[string]attestor.Status{
		"assertion.repository_owner == 'acme'": attestor.StatusPass, "assertion['repository_owner'] == 'acme'": attestor.StatusPass,
		"attribute.repository.startsWith('acme/')": attestor.StatusPass, "google.subject in ['a', 'b']": attestor.StatusPass,
		"assertion.aud == 'gate' && assertion.repository == 'acme/gate'": attestor.StatusPass,
		"true": attestor.StatusDeny, "1 == 1": attestor.StatusDeny, "!(false)": attestor.StatusDeny,
		"assertion.sub != ''": attestor.StatusDeny, "assertion.sub.startsWith('')": attestor.StatusDeny,
		"attribute.repository.matches('.*')": attestor.StatusDeny, "assertion.repository == 'acme/gate' || true": attestor.StatusDeny,
		"assertion.iss == 'https://token.actions.githubusercontent.com'": attestor.StatusDeny, "assertion.sub == assertion.sub": attestor.StatusDeny,
		"assertion.sub ==": attestor.StatusDeny, "": attestor.StatusDeny,
	} {
		p := plan(resource("google_iam_workload_identity_pool_provider", "p", fmt.Sprintf(`{"attribute_condition": `+
			`%q, "oidc": [{"issuer_uri": "https://token.actions.githubusercontent.com"}]}`, condition)))
		if got := worst(hipaa(t, p), "KEYLESS"); got != want {
			t.Errorf("%q: %s, want %s", condition, got, want)
		}
	}
}

// TestProvidersOfTokens: only AWS, SAML and X.509 say by themselves whose tokens count.
func TestProvidersOfTokens(t *testing.T) {
	for _, tt := range []struct {
		after, unknown string
		want           attestor.Status
	}{
		{`{"oidc": [{"issuer_uri": "https://token.example"}]}`, `{}`, attestor.StatusDeny},
		{`{}`, `{"oidc": true}`, attestor.StatusDeny},
		{`{"oidc": "https://token.example"}`, `{}`, attestor.StatusDeny},
		{`{}`, `{}`, attestor.StatusDeny},
		{`{"aws": [{"account_id": "123456789012"}]}`, `{}`, attestor.StatusPass},
		{`{"oidc": [], "saml": [{"idp_metadata_xml": "x"}]}`, `{}`, attestor.StatusPass},
		{`{"oidc": [{"issuer_uri": "https://token.example"}], "aws": [{"account_id": "1"}]}`, `{}`, attestor.StatusDeny},
	} {
		p := plan(resourceUnknown("google_iam_workload_identity_pool_provider", "p", tt.after, tt.unknown))
		if got := worst(hipaa(t, p), "KEYLESS"); got != tt.want {
			t.Errorf("%s, unknown %s: %s, want %s", tt.after, tt.unknown, got, tt.want)
		}
	}
}

// TestOrganizationPoliciesInBothForms: what is denied restricts as well as what is allowed, and an exception for everything restricts nothing.
func TestOrganizationPoliciesInBothForms(t *testing.T) {
	policy := func(name, rules string) string {
		return resource("google_org_policy_policy", strings.ReplaceAll(name, ".", "_"),
			`{"name": "organizations/1/policies/`+name+`", "spec": [{"rules": [`+rules+`]}]}`)
	}
	legacy := func(kind, name, list string) string {
		return resource(kind, strings.ReplaceAll(name, ".", "_"), `{"constraint": "constraints/`+name+`", `+list+`}`)
	}
	egress := policy("run.allowedVPCEgress", `{"values": [{"allowed_values": ["all-traffic"]}]}`)
	binauthz := policy("run.allowedBinaryAuthorizationPolicies", `{"values": [{"allowed_values": ["default"]}]}`)
	const pass, deny, warn = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn
	for _, tt := range []struct {
		name, ingress string
		want          attestor.Status
	}{
		{"allowed", policy("run.allowedIngress", `{"values": [{"allowed_values": ["is:internal"]}]}`), pass},
		{"denied", policy("run.allowedIngress", `{"values": [{"denied_values": ["all"]}]}`), pass},
		{"something else denied", policy("run.allowedIngress", `{"values": [{"denied_values": ["internal"]}]}`), deny},
		{"an exception by a tag", policy("run.allowedIngress", `{"values": [{"allowed_values": ["internal"]}]}, `+
			`{"allow_all": "TRUE", "condition": [{"expression": "resource.matchTag('1/public', 'true')"}]}`), pass},
		{"an exception for everything", policy("run.allowedIngress", `{"values": [{"allowed_values": `+
			`["internal"]}]}, {"allow_all": "TRUE", "condition": [{"expression": "true"}]}`), deny},
		{"exceptions alone", policy("run.allowedIngress", `{"values": [{"allowed_values": ["internal"]}], `+
			`"condition": [{"expression": "resource.matchTag('1/a', 'b')"}]}`), deny},
		{"in dry run",
			resource("google_org_policy_policy", "i", `{"name": "organizations/1/policies/run.allowedIngress", `+
				`"dry_run_spec": [{"rules": [{"values": [{"allowed_values": ["internal"]}]}]}]}`), warn},
		{"reset", resource("google_org_policy_policy", "i", `{"name": "organizations/1/policies/run.allowedIngress", "spec": [{"reset": true}]}`), deny},
		{"legacy, allowed", legacy("google_organization_policy", "run.allowedIngress", `"list_policy": [{"allow": [{"values": ["internal"]}]}]`), pass},
		{"legacy, denied", legacy("google_folder_organization_policy", "run.allowedIngress", `"list_policy": [{"deny": [{"values": ["all"]}]}]`), pass},
		{"legacy, allows all", legacy("google_project_organization_policy", "run.allowedIngress", `"list_policy": [{"allow": [{"all": true}]}]`), deny},
		{"legacy, restored", legacy("google_project_organization_policy", "run.allowedIngress", `"restore_policy": [{"default": true}]`), deny},
		{"lifted in a project", policy("run.allowedIngress", `{"values": [{"allowed_values": ["internal"]}]}`) +
			", " + legacy("google_project_organization_policy", "run.allowedIngress",
			`"list_policy": [{"allow": [{"values": ["all"]}]}]`), deny},
		{"the check of invokers lifted", policy("run.allowedIngress", `{"values": [{"allowed_values": ["internal"]}]}`) +
			", " + policy("run.managed.requireInvokerIam", `{"enforce": "FALSE"}`), deny},
		{"lifted in another spelling", policy("run.allowedIngress", `{"values": [{"allowed_values": ["internal"]}]}, {"allow_all": "1"}`), deny},
	} {
		if r := hipaa(t, plan(tt.ingress, egress, binauthz)); worst(r, "ORGANIZATION_POLICIES") != tt.want {
			t.Errorf("%s: %s: %s", tt.name, worst(r, "ORGANIZATION_POLICIES"), finding(t, r, "ORGANIZATION_POLICIES").Message)
		}
	}

	// A constraint that is on or off must be on where a plan has it.
	ingress := policy("run.allowedIngress", `{"values": [{"allowed_values": ["internal"]}]}`)
	const name = "run.managed.requireInvokerIam"
	body := func(text string) string {
		return resource("google_org_policy_policy", "m", `{"name": "organizations/1/policies/`+name+`", `+text+`}`)
	}
	for _, tt := range []struct {
		name, managed string
		want          attestor.Status
	}{
		{"on", policy(name, `{"enforce": "TRUE"}`), pass},
		{"on, but for a tag", policy(name, `{"enforce": "FALSE", "condition": [{"expression": "resource.matchTag('1/a', 'b')"}]}, {"enforce": "TRUE"}`), pass},
		{"off", policy(name, `{"enforce": "FALSE"}`), deny},
		{"off, in another spelling", policy(name, `{"enforce": "False"}`), deny},
		{"off under a condition that always holds", policy(name, `{"enforce": "TRUE"}, {"enforce": "FALSE", "condition": [{"expression": "true"}]}`), deny},
		{"on for a tag alone", policy(name, `{"enforce": "TRUE", "condition": [{"expression": "resource.matchTag('1/a', 'b')"}]}`), deny},
		{"no rules", policy(name, ""), deny},
		{"no spec", body(`"parent": "organizations/1"`), deny},
		{"reset", body(`"spec": [{"reset": true}]`), deny},
		{"in dry run", body(`"dry_run_spec": [{"rules": [{"enforce": "TRUE"}]}]`), warn},
	} {
		if r := hipaa(t, plan(ingress, egress, binauthz, tt.managed)); worst(r, "ORGANIZATION_POLICIES") != tt.want {
			t.Errorf("%s: %s: %s", tt.name, worst(r, "ORGANIZATION_POLICIES"), finding(t, r, "ORGANIZATION_POLICIES").Message)
		}
	}
}

// TestPerimetersByContent: a rule for every identity and every service makes a perimeter one in name.
func TestPerimetersByContent(t *testing.T) {
	const services = `"restricted_services": ["artifactregistry.googleapis.com", "cloudkms.googleapis.com", "containeranalysis.googleapis.com"]`
	perimeter := func(more string) string {
		return resource("google_access_context_manager_service_perimeter", "p", `{"name": "p", "status": [{"resources": ["projects/1"], `+services+more+`}]}`)
	}
	level := func(body string) string {
		return resource("google_access_context_manager_access_level", "l", `{"name": "accessPolicies/1/accessLevels/l", `+body+`}`)
	}
	const anyone = `"ingress_from": [{"identity_type": "ANY_IDENTITY", "sources": [{"access_level": "*"}]}]`
	const everything = `"ingress_to": [{"resources": ["*"], "operations": [{"service_name": "*"}]}]`
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	for _, tt := range []struct {
		name, text string
		want       attestor.Status
	}{
		{"closed", plan(perimeter("")), pass},
		{"everybody in", plan(perimeter(`, "ingress_policies": [{` + anyone + `, ` + everything + `}]`)), deny},
		{"everybody to one service", plan(perimeter(`, "ingress_policies": [{` + anyone + `, "ingress_to": ` +
			`[{"operations": [{"service_name": "storage.googleapis.com"}]}]}]`)), pass},
		{"one account to everything", plan(perimeter(`, "ingress_policies": [{"ingress_from": [{"identities": ` +
			`["serviceAccount:a@acme.iam.gserviceaccount.com"]}], ` + everything + `}]`)), pass},
		{"everybody out", plan(perimeter(`, "egress_policies": [{"egress_from": [{"identity_type": "ANY_IDENTITY"}], ` +
			`"egress_to": [{"resources": ["*"], "operations": [{"service_name": "*"}]}]}]`)), deny},
		{"everybody out, by a resource of its own", plan(perimeter(""),
			resource("google_access_context_manager_service_perimeter_egress_policy", "e", `{"perimeter": `+
				`"accessPolicies/1/servicePerimeters/p", "egress_from": [{"identity_type": "ANY_IDENTITY"}], `+
				`"egress_to": [{"resources": ["*"], "operations": [{"service_name": "*"}]}]}`)), deny},
		{"a level for all addresses", plan(perimeter(`, "access_levels": ["accessPolicies/1/accessLevels/l"]`),
			level(`"basic": [{"conditions": [{"ip_subnetworks": ["0.0.0.0/0"]}]}]`)), deny},
		{"a level that always holds", plan(perimeter(`, "access_levels": ["accessPolicies/1/accessLevels/l"]`),
			level(`"custom": [{"expr": [{"expression": "true"}]}]`)), deny},
		{"a level for an office", plan(perimeter(`, "access_levels": ["accessPolicies/1/accessLevels/l"]`),
			level(`"basic": [{"conditions": [{"ip_subnetworks": ["203.0.113.0/24"]}]}]`)), pass},
		{"its projects by resources of their own", plan(resource("google_access_context_manager_service_perimeter",
			"p", `{"name": "p", "status": [{`+services+`}]}`),
			resource("google_access_context_manager_service_perimeter_resource", "r",
				`{"perimeter_name": "accessPolicies/1/servicePerimeters/p", "resource": "projects/1"}`)), pass},
		{"several in one resource", plan(resource("google_access_context_manager_service_perimeters", "p",
			`{"service_perimeters": [{"name": "p", "status": [{"resources": ["projects/1"], `+services+`}]}]}`)),
			pass},
		{"of nothing", plan(resource("google_access_context_manager_service_perimeters", "p",
			`{"service_perimeters": [{"name": "p", "status": [{`+services+`}]}]}`)), deny},
	} {
		if r := hipaa(t, tt.text); worst(r, "SERVICE_PERIMETER") != tt.want {
			t.Errorf("%s: %s: %s", tt.name, worst(r, "SERVICE_PERIMETER"), finding(t, r, "SERVICE_PERIMETER").Message)
		}
	}
}

// TestInputThatIsNotWhole: a part of a plan, and a template, are judged and never pass.
func TestInputThatIsNotWhole(t *testing.T) {
	good := plan(resource("google_cloud_run_v2_worker_pool", "q", poolTerraform))
	with := func(field string) string { return strings.TrimSuffix(good, "}") + ", " + field + "}" }
	for _, tt := range []struct {
		name, text string
		want       attestor.Outcome
	}{
		{"a whole plan", with(`"complete": true, "errored": false`), attestor.Pass},
		{"a part of one", with(`"complete": false`), attestor.Undecided},
		{"deferred changes", with(`"deferred_changes": [{"reason": "provider_config_unknown", ` +
			`"resource_change": {"address": "google_cloud_run_v2_service.a"}}]`), attestor.Undecided},
		{"an image that envsubst renders", replace(t, poolYAML, digestImage, "${IMAGE}"), attestor.Deny},
		{"an account that Helm renders", replace(t, poolYAML, "queue@acme.iam.gserviceaccount.com",
			"'{{ .Values.account }}@acme.iam.gserviceaccount.com'"), attestor.Deny},
		{"an account to be filled in", replace(t, poolYAML, "queue@acme.iam.gserviceaccount.com", "<NAME>@acme.iam.gserviceaccount.com"), attestor.Undecided},
		{"an account of a build's project", replace(t, poolYAML, "queue@acme.iam.gserviceaccount.com",
			"queue@$PROJECT_ID.iam.gserviceaccount.com"), attestor.Undecided},
		{"a key that make renders", replace(t, poolYAML, "projects/p/locations", "projects/$(PROJECT)/locations"), attestor.Undecided},
	} {
		r := hipaa(t, tt.text)
		if r.Verdict != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, r.Verdict, tt.want)
		}
		if got, want := worst(r, posture.InputComplete),
			map[bool]attestor.Status{true: "", false: attestor.StatusError}[tt.want == attestor.Pass]; got != want {
			t.Errorf("%s: %s is %q, want %q", tt.name, posture.InputComplete, got, want)
		}
	}
	if _, err := judge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(with(`"errored": true`))}}); !isInvalid(err) {
		t.Errorf("a plan that failed: %v", err)
	}
	helm := replace(t, poolYAML, "metadata:", "{{- if .Values.pool }}\nmetadata:")
	if _, err := judge(t, builtin(t, "hipaa"), nil,
		posture.Input{Definitions: []posture.Source{source(helm)}}); !isInvalid(err) ||
		!strings.Contains(err.Error(), "render it first") {
		t.Errorf("a chart's template: %v", err)
	}
	// A number and a switch that were not rendered are no values, and the message says what to do.
	whole := sample(t, "hardened.yaml")
	for old, text := range map[string]string{"maxScale: '20'": "maxScale: ${MAX}", "timeoutSeconds: 60": "timeoutSeconds: $(SECONDS)",
		"default-url-disabled: 'true'": "default-url-disabled: '{{ .Values.off }}'"} {
		_, err := judge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(replace(t, whole, old, text))}})
		if !isInvalid(err) || !strings.Contains(err.Error(), "render it first") {
			t.Errorf("%s: %v", text, err)
		}
	}

	// A variable that a program expands itself is no template, unless its name says that it is a secret.
	for value, want := range map[string]attestor.Status{"LOG_LEVEL\n          value: '${LEVEL}'": "",
		"DB_PASSWORD\n          value: '${LEVEL}'": attestor.StatusError} {
		r := hipaa(t, replace(t, sample(t, "hardened.yaml"), "LOG_LEVEL\n          value: info", value))
		if got := worst(r, posture.InputComplete); got != want {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}
