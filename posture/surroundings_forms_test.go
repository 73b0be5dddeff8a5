package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// TestSurroundingsInTheirForms: what stands around services in the notation of Terraform, of gcloud and of Config Connector, as the
// documentation of each API has it.
func TestSurroundingsInTheirForms(t *testing.T) {
	const pass, deny, warn, skipped = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn, attestor.StatusSkipped
	backend := func(iap string) string {
		return plan(resource("google_compute_backend_service", "b", `{"name": "b", "security_policy": "p"`+iap+`}`))
	}
	armor := func(exclusion string) string {
		return `{"kind": "compute#securityPolicy", "name": "p", "rules": [{"priority": 1, "action": "deny(403)",
		  "match": {"expr": {"expression": "evaluatePreconfiguredWaf('sqli-v33-stable') || evaluatePreconfiguredWaf('xss-v33-stable')"}},
		  "preconfiguredWafConfig": {"exclusions": [{"targetRuleSet": "sqli-v33-stable", ` + exclusion + `}]}}]}`
	}
	subnetwork := func(purpose string) string {
		return plan(resource("google_compute_subnetwork", "s", `{"name": "s", "purpose": "`+purpose+`"}`))
	}
	database := func(psc string) string {
		return plan(resource("google_sql_database_instance", "d", `{"settings": [{"ip_configuration": [{"ipv4_enabled": false, "private_network": null,
		  "psc_config": [`+psc+`]}]}]}`))
	}
	level := func(basic string) string {
		return plan(resource("google_access_context_manager_service_perimeter", "p", `{"name": "p", "status": [{"resources": ["projects/1"],
		  "access_levels": ["accessPolicies/1/accessLevels/l"],
  "restricted_services": ["artifactregistry.googleapis.com", "cloudkms.googleapis.com", "containeranalysis.googleapis.com"]}]}`),
			resource("google_access_context_manager_access_level", "l", `{"name": "accessPolicies/1/accessLevels/l", `+basic+`}`))
	}
	ingress := func(service string) string {
		return plan(resource("google_access_context_manager_service_perimeter", "p", `{"name": "p", "status": [{"resources": ["projects/1"],
  "restricted_services": ["artifactregistry.googleapis.com", "cloudkms.googleapis.com", "containeranalysis.googleapis.com"],
  "ingress_policies": [{"ingress_from": [{"identity_type": "ANY_IDENTITY", "sources": [{"access_level": "*"}]}],
  "ingress_to": [{"operations": [`+service+`]}]}]}]}`))
	}
	tagged := strings.Replace(sample(t, "surroundings.json"), "resource.matchTagId('tagKeys/1', 'tagValues/2')",
		"resource.matchTagId('tagKeys/1', 'tagValues/2') || !resource.matchTagId('tagKeys/1', 'tagValues/2')", 1)
	proxy := func(others string) string {
		return plan(strings.Trim(resourceUnknown("google_compute_target_https_proxy", "p", `{"name": "p"}`, `{"ssl_policy": true}`)+", "+others, ", "))
	}
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"a proxy that is on", backend(`, "iap": [{"enabled": true}]`), "IDENTITY_AWARE_PROXY", pass},
		{"a proxy that is off", backend(`, "iap": [{"enabled": false}]`), "IDENTITY_AWARE_PROXY", warn},
		{"no proxy, written as null", backend(`, "iap": null`), "IDENTITY_AWARE_PROXY", warn},
		{"a proxy that says nothing", backend(`, "iap": [{}]`), "IDENTITY_AWARE_PROXY", warn},
		{"a proxy of an older provider", backend(`, "iap": [{"oauth2_client_id": "c", "oauth2_client_secret": "s"}]`), "IDENTITY_AWARE_PROXY", pass},
		{"a proxy in an export that says nothing", `{"kind": "compute#backendService", "name": "b", "securityPolicy": "p",
		  "iap": {"oauth2ClientId": "c"}}`, "IDENTITY_AWARE_PROXY", warn},
		{"a proxy that is known after apply", plan(resourceUnknown("google_compute_backend_service", "b", `{"name": "b"}`, `{"iap": true}`)),
			"IDENTITY_AWARE_PROXY", skipped},
		{"a subnetwork by the older word", subnetwork("PRIVATE_RFC_1918"), "PRIVATE_GOOGLE_ACCESS", deny},
		{"a subnetwork of a new purpose", subnetwork("NEXT"), "PRIVATE_GOOGLE_ACCESS", deny},
		{"a subnetwork of proxies", subnetwork("REGIONAL_MANAGED_PROXY"), "PRIVATE_GOOGLE_ACCESS", pass},
		{"a database by Private Service Connect", database(`{"psc_enabled": true}`), "DATABASE_PRIVATE", pass},
		{"a database that is not reached at all", database(`{"psc_enabled": false}`), "DATABASE_PRIVATE", deny},
		{"AlloyDB by gcloud", `{"name": "projects/p/locations/us-east1/clusters/c/instances/i", "networkConfig": {"enablePublicIp": true}}`,
			"DATABASE_PRIVATE", deny},
		{"AlloyDB by Config Connector", connectorResource("alloydb", "AlloyDBInstance", "{networkConfig: {enablePublicIp: true}}"), "DATABASE_PRIVATE", deny},
		{"private AlloyDB by Config Connector", connectorResource("alloydb", "AlloyDBInstance", "{instanceType: PRIMARY}"), "DATABASE_PRIVATE", pass},
		{"every cookie excluded, by gcloud", armor(`"requestCookiesToExclude": [{"op": "EQUALS_ANY"}]`), "WAF_RULES", deny},
		{"every path excluded, by gcloud", armor(`"requestUrisToExclude": [{"op": "STARTS_WITH", "val": "/"}]`), "WAF_RULES", deny},
		{"one cookie excluded, by gcloud", armor(`"requestCookiesToExclude": [{"op": "EQUALS", "val": "sid"}]`), "WAF_RULES", pass},
		{"all addresses, for one person", level(`"basic": [{"conditions": [{"ip_subnetworks": ["0.0.0.0/0"], "members": ["user:a@acme.example"]}]}]`),
			"SERVICE_PERIMETER", pass},
		{"all addresses and an office", level(`"basic": [{"combining_function": "AND",
		  "conditions": [{"ip_subnetworks": ["0.0.0.0/0"]}, {"ip_subnetworks": ["203.0.113.0/24"]}]}]`), "SERVICE_PERIMETER", pass},
		{"all addresses or an office", level(`"basic": [{"combining_function": "OR",
		  "conditions": [{"ip_subnetworks": ["0.0.0.0/0"]}, {"ip_subnetworks": ["203.0.113.0/24"]}]}]`), "SERVICE_PERIMETER", deny},
		{"all people but one", level(`"basic": [{"conditions": [{"negate": true, "members": ["user:a@acme.example"]}]}]`), "SERVICE_PERIMETER", deny},
		{"all addresses, in an expression", level(`"custom": [{"expr": [{"expression": "inIpRange(origin.ip, ['0.0.0.0/0'])"}]}]`), "SERVICE_PERIMETER", deny},
		{"an office, in an expression", level(`"custom": [{"expr": [{"expression": "inIpRange(origin.ip, ['203.0.113.0/24'])"}]}]`), "SERVICE_PERIMETER", pass},
		{"everybody to the registry", ingress(`{"service_name": "artifactregistry.googleapis.com", "method_selectors": [{"method": "*"}]}`),
			"SERVICE_PERIMETER", deny},
		{"everybody to one method of the registry", ingress(`{"service_name": "artifactregistry.googleapis.com",
		  "method_selectors": [{"method": "artifactregistry.googleapis.com/DockerRead"}]}`), "SERVICE_PERIMETER", pass},
		{"with a tag or without", tagged, "ORGANIZATION_POLICIES", deny},
		{"an SSL policy that is known after apply", proxy(resource("google_compute_ssl_policy", "s", `{"name": "s", "min_tls_version": "TLS_1_2"}`)),
			"TLS_BOUNDED", pass},
		{"an SSL policy of nobody", proxy(""), "TLS_BOUNDED", skipped},
		{"an endpoint group of an export", `[{"kind": "compute#networkEndpointGroup", "name": "g",
		  "region": "https://www.googleapis.com/compute/v1/projects/acme/regions/us-east1", "cloudRun": {"service": "a"}}, ` +
			`{"name": "projects/acme/locations/us-east1/services/a", "ingress": "INGRESS_TRAFFIC_ALL", "template": {"containers": [{"image": "nginx"}]}}]`,
			"DEFAULT_URL_DISABLED", deny},
		{"an endpoint group of another region", `[{"kind": "compute#networkEndpointGroup", "name": "g",
		  "region": "https://www.googleapis.com/compute/v1/projects/acme/regions/us-west1", "cloudRun": {"service": "a"}}, ` +
			`{"name": "projects/acme/locations/us-east1/services/a", "ingress": "INGRESS_TRAFFIC_ALL", "template": {"containers": [{"image": "nginx"}]}}]`,
			"DEFAULT_URL_DISABLED", skipped},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s, want %s: %s", tt.name, tt.rule, worst(r, tt.rule), tt.want, finding(t, r, tt.rule).Message)
		}
	}

	// What rules only look at may be a file of its own: it is no subject, and no fault of the input.
	files := posture.Input{Definitions: []posture.Source{
		{Name: "proxy.json", Text: []byte(`{"kind": "compute#targetHttpProxy", "name": "h", "urlMap": "global/urlMaps/m"}`)},
		{Name: "map.json", Text: []byte(`{"kind": "compute#urlMap", "name": "m", "defaultUrlRedirect": {"httpsRedirect": true}}`)}}}
	if got := worst(mustJudge(t, builtin(t, "hipaa"), nil, files), "TLS_BOUNDED"); got != pass {
		t.Errorf("a URL map in a file of its own: %s", got)
	}
	files.Definitions = files.Definitions[1:]
	if _, err := judge(t, builtin(t, "hipaa"), nil, files); !isInvalid(err) {
		t.Errorf("a URL map alone: %v", err)
	}
}

// TestTextsInTheirForms: secrets and limits where a reader of one notation does not look.
func TestTextsInTheirForms(t *testing.T) {
	const pass, deny, secrets = attestor.StatusPass, attestor.StatusDeny, "SECRETS_BY_REFERENCE"
	const token = "ghp_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
	hardened := sample(t, "hardened.yaml")
	config := func(value string) string {
		return replace(t, hardened, "LOG_LEVEL\n          value: info", "CONFIG\n          value: "+value)
	}
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"YAML with a mapping in it", config(`"db:\n  password: hunter2\n"`), secrets, deny},
		{"YAML with a list in it", config(`"users:\n- password: hunter2\n"`), secrets, deny},
		{"YAML on one line", config(`"{db: {password: hunter2}}"`), secrets, deny},
		{"TOML", config(`"[db]\napi_key = 'hunter2'\n"`), secrets, deny},
		{"XML", config(`"<db><password>hunter2</password></db>"`), secrets, deny},
		{"a part of JSON", config(`"db = {'password': 'hunter2'}"`), secrets, deny},
		{"YAML with nothing in it", config(`"db:\n  password:\n  host: a\n"`), secrets, pass},
		{"an expression", config(`"token == other && a == b"`), secrets, pass},
		{"the query of a probe", replace(t, hardened, "path: /health\n", "path: /health?token=hunter2\n"), secrets, deny},
		{"a label of a revision", replace(t, hardened, "run.googleapis.com/startupProbeType: Custom", "note: "+token), secrets, deny},
		{"a label of Terraform's older resource", plan(resource("google_cloud_run_service", "a", `{"name": "a",
		  "metadata": [{"labels": {"note": "`+token+`"}}], "template": [{"spec": [{"containers": [{"image": "i"}]}]}]}`)), secrets, deny},
		{"memory of nothing", replace(t, hardened, "memory: 512Mi", "memory: 0Mi"), "RESOURCE_LIMITS", deny},
		{"memory", replace(t, hardened, "memory: 512Mi", "memory: 0.5Gi"), "RESOURCE_LIMITS", pass},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.name, tt.rule, worst(r, tt.rule), tt.want)
		}
	}
}
