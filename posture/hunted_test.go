package posture_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// TestWrongPasses: definitions that look right and are not, each beside its like that is right.
func TestWrongPasses(t *testing.T) {
	const pass, deny, warn, skipped = attestor.StatusPass, attestor.StatusDeny, attestor.StatusWarn, attestor.StatusSkipped
	hardened := sample(t, "hardened.yaml")
	v2 := func(more, template, container string) string {
		return `{"name": "projects/acme/locations/us-east1/services/a", ` + more + `"template": {` + template +
			`"containers": [{` + container + `"image": "` + digestImage + `"}]}}`
	}
	service := func(more string) string {
		return resource("google_cloud_run_v2_service", "a", `{"name": "a", "project": "acme", `+
			`"location": "us-east1", "iap_enabled": true, "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY"`+more+`}`)
	}
	for _, tt := range []struct {
		name, text, rule string
		want             attestor.Status
	}{
		{"an interface to no network", v2("", `"vpcAccess": {"networkInterfaces": [{"tags": ["a"]}]}, `, ""), "VPC_EGRESS", deny},
		{"an interface to a subnetwork", v2("", `"vpcAccess": {"networkInterfaces": [{"subnetwork": "run"}]}, `, ""), "VPC_EGRESS", pass},
		{"Terraform, an interface to no network", plan(service(`, "template": [{"vpc_access": [{"network_interfaces": ` +
			`[{"network": null, "subnetwork": null, "tags": ["a"]}]}]}]`)), "VPC_EGRESS", deny},
		{"the account of Cloud Build", v2("", `"serviceAccount": "123@cloudbuild.gserviceaccount.com", `, ""), "DEDICATED_SERVICE_ACCOUNT", deny},
		{"the account of Google's APIs", v2("", `"serviceAccount": "123@cloudservices.gserviceaccount.com", `, ""), "DEDICATED_SERVICE_ACCOUNT", deny},
		{"an account of its own", v2("", `"serviceAccount": "cloudbuild@acme.iam.gserviceaccount.com", `, ""), "DEDICATED_SERVICE_ACCOUNT", pass},
		{"limits of nothing", v2("", "", `"resources": {"limits": {"cpu": "0", "memory": "512Mi"}}, `), "RESOURCE_LIMITS", deny},
		{"a limit below one", v2("", "", `"resources": {"limits": {"cpu": "0.08", "memory": "512Mi"}}, `), "RESOURCE_LIMITS", pass},
		{"variables from a secret", replace(t, hardened, "      - env:\n",
			"      - envFrom: [{secretRef: {name: db}}]\n        env:\n"), "SECRETS_AS_FILES", warn},
		{"variables from a secret have no version", replace(t, hardened, "      - env:\n",
			"      - envFrom: [{secretRef: {name: db}}]\n        env:\n"), "SECRET_VERSION_PINNED", warn},
		{"variables from a map", replace(t, hardened, "      - env:\n",
			"      - envFrom: [{configMapRef: {name: db}}]\n        env:\n"), "SECRETS_AS_FILES", pass},
		{"a projected secret", replace(t, hardened, "      volumes:\n", "      volumes:\n      - name: all\n"+
			"        projected: {sources: [{secret: {name: db}}]}\n"), "SECRET_VERSION_PINNED", warn},
		{"an alias of a version", replace(t, hardened, "key: '3'", "key: current"), "SECRET_VERSION_PINNED", warn},
		{"a token in a description", v2(`"description": "use ghp_abcdefghijklmnopqrstuvwxyz0123456789", `, "", ""), "SECRETS_BY_REFERENCE", deny},
		{"a token in an execution's annotation", `{"name": "projects/acme/locations/us-east1/jobs/a", ` +
			`"template": {"annotations": {"note": "ghp_abcdefghijklmnopqrstuvwxyz0123456789"}, ` +
			`"template": {"containers": [{"image": "` + digestImage + `"}]}}}`, "SECRETS_BY_REFERENCE", deny},
		{"everybody passes the proxy, by a grant on all of it", plan(service(""), resource("google_iap_web_iam_member",
			"x", `{"project": "acme", "role": "roles/iap.httpsResourceAccessor", "member": "allUsers"}`)),
			"INVOKER_AUTH", deny},
		{"a group passes the proxy",
			plan(service(""), resource("google_cloud_run_v2_service_iam_member", "y", `{"name": "a", "role": `+
				`"roles/run.invoker", "member": "serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com"}`),
				resource("google_iap_web_iam_member", "x", `{"project": "acme", "role": `+
					`"roles/iap.httpsResourceAccessor", "member": "group:a@acme.example"}`)), "INVOKER_AUTH", pass},
		{"a proxy with an SSL policy elsewhere", plan(resource("google_compute_target_https_proxy", "p",
			`{"name": "p", "ssl_policy": "old"}`)), "TLS_BOUNDED", skipped},
		{"a proxy with an SSL policy", plan(resource("google_compute_target_https_proxy", "p",
			`{"name": "p", "ssl_policy": "new"}`), resource("google_compute_ssl_policy", "n",
			`{"name": "new", "min_tls_version": "TLS_1_2"}`)), "TLS_BOUNDED", pass},
		{"AlloyDB with a public address", plan(resource("google_alloydb_instance", "a",
			`{"network_config": [{"enable_public_ip": true}]}`)), "DATABASE_PRIVATE", deny},
		{"AlloyDB", plan(resource("google_alloydb_instance", "a", `{"network_config": []}`)), "DATABASE_PRIVATE", pass},
		{"a function by gcloud", `{"name": "projects/acme/locations/us-east1/functions/f", "environment": "GEN_2", ` +
			`"serviceConfig": {"ingressSettings": "ALLOW_ALL", "environmentVariables": {"DB_PASSWORD": "hunter2"}}}`,
			"INGRESS_RESTRICTED", deny},
		{"a function by gcloud, its variables", `{"name": "projects/acme/locations/us-east1/functions/f", ` +
			`"environment": "GEN_2", "serviceConfig": {"environmentVariables": {"DB_PASSWORD": "hunter2"}}}`,
			"SECRETS_BY_REFERENCE", deny},
		{"a closed function by gcloud", `{"name": "projects/acme/locations/us-east1/functions/f", "environment": ` +
			`"GEN_2", "serviceConfig": {"ingressSettings": "ALLOW_INTERNAL_ONLY"}}`, "INGRESS_RESTRICTED", pass},
		{"an old function beside a service", "[" + v2("", "",
			"") + `, {"name": "projects/acme/locations/us-east1/functions/f", "environment": "GEN_1"}]`,
			posture.InputComplete, skipped},
	} {
		if r := hipaa(t, tt.text); worst(r, tt.rule) != tt.want {
			t.Errorf("%s: %s is %s, want %s", tt.name, tt.rule, worst(r, tt.rule), tt.want)
		}
	}
}

// TestClaimsOfStrangers: a condition that looks only at what a stranger's repository has too lets everybody in.
func TestClaimsOfStrangers(t *testing.T) {
	for condition, want := range map[string]attestor.Status{
		"assertion.ref == 'refs/heads/main'": attestor.StatusDeny, "assertion.event_name == 'push' && assertion.environment == 'prod'": attestor.StatusDeny,
		"assertion.sub.startsWith('repo:')":                                        attestor.StatusDeny,
		"google.subject.matches('^repo:.*')":                                       attestor.StatusDeny,
		"assertion.sub.contains(':')":                                              attestor.StatusDeny,
		"attribute.branch == 'main'":                                               attestor.StatusDeny,
		"assertion.repository_visibility == 'private'":                             attestor.StatusDeny,
		"assertion.sub.startsWith('project_path:')":                                attestor.StatusDeny,
		"assertion.ref == 'refs/heads/main' || assertion.repository == 'acme/app'": attestor.StatusDeny,
		"assertion.ref == 'refs/heads/main' && assertion.repository == 'acme/app'": attestor.StatusPass,
		"assertion.sub.startsWith('repo:acme/')":                                   attestor.StatusPass,
		"assertion.repository_owner_id == '123'":                                   attestor.StatusPass, "attribute.owner == 'acme'": attestor.StatusPass,
		"assertion.namespace_path == 'acme'":                                  attestor.StatusPass,
		"assertion.job_workflow_ref.startsWith('acme/ci/.github/workflows/')": attestor.StatusPass,
		"google.subject.matches('^repo:acme/.*')":                             attestor.StatusPass,
	} {
		p := plan(resource("google_iam_workload_identity_pool_provider", "p", fmt.Sprintf(
			`{"attribute_condition": %q, "oidc": [{"issuer_uri": "https://token.actions.githubusercontent.com"}],
  "attribute_mapping": {"google.subject": "assertion.sub", "attribute.branch": "assertion.ref", "attribute.owner": "assertion.repository_owner"}}`, condition)))
		if got := worst(hipaa(t, p), "KEYLESS"); got != want {
			t.Errorf("%q: %s, want %s", condition, got, want)
		}
	}
}

// TestPerimetersOfEverybody: a rule for all accounts of one kind, and a level for all addresses but some, let everybody through.
func TestPerimetersOfEverybody(t *testing.T) {
	const services = `"restricted_services": ["artifactregistry.googleapis.com", "cloudkms.googleapis.com", "containeranalysis.googleapis.com"]`
	perimeter := func(more string) string {
		return resource("google_access_context_manager_service_perimeter", "p", `{"name": "p", "status": [{"resources": ["projects/1"], `+services+more+`}]}`)
	}
	rule := func(kind string) string {
		return perimeter(`, "ingress_policies": [{"ingress_from": [{"identity_type": "` + kind + `", "sources": ` +
			`[{"access_level": "*"}]}], "ingress_to": [{"operations": [{"service_name": "*"}]}]}]`)
	}
	level := func(condition string) string {
		return perimeter(`, "access_levels": ["l"]`) + ", " + resource("google_access_context_manager_access_level",
			"l", `{"name": "l", "basic": [{"conditions": [`+condition+`]}]}`)
	}
	for name, tt := range map[string]struct {
		text string
		want attestor.Status
	}{
		"every user": {rule("ANY_USER_ACCOUNT"), attestor.StatusDeny}, "every account": {rule("ANY_SERVICE_ACCOUNT"), attestor.StatusDeny},
		"all addresses but an office": {level(`{"negate": true, "ip_subnetworks": ["203.0.113.0/24"]}`), attestor.StatusDeny},
		"all regions but one":         {level(`{"negate": true, "regions": ["KP"]}`), attestor.StatusDeny},
		"an office":                   {level(`{"negate": false, "ip_subnetworks": ["203.0.113.0/24"]}`), attestor.StatusPass},
		"no address":                  {level(`{"negate": true, "ip_subnetworks": ["0.0.0.0/0"]}`), attestor.StatusPass},
	} {
		if got := worst(hipaa(t, plan(tt.text)), "SERVICE_PERIMETER"); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestNamesOfSecrets: words that are written together, and addresses with a password that have no scheme.
func TestNamesOfSecrets(t *testing.T) {
	for variable, want := range map[string]attestor.Status{
		"DBPASS=hunter2": attestor.StatusDeny, "SMTPPWD=hunter2": attestor.StatusDeny,
		"JWTSECRET=hunter2": attestor.StatusDeny, "HMAC_KEY=hunter2": attestor.StatusDeny,
		"DB_CREDS=hunter2": attestor.StatusDeny, "AUTHORIZATION=hunter2": attestor.StatusDeny,
		"DATABASE=root:hunter2@tcp(10.0.0.3:3306)/shop": attestor.StatusDeny,
		"COMPASS=north": attestor.StatusPass, "BYPASS=paths": attestor.StatusPass,
		"DATABASE=root@tcp(10.0.0.3:3306)/shop": attestor.StatusPass, "MAX_TOKENS=4096": attestor.StatusPass,
		"CRYPTO_KEY=projects/p/locations/l/keyRings/r/cryptoKeys/k": attestor.StatusPass,
	} {
		name, value, _ := strings.Cut(variable, "=")
		r := hipaa(t, replace(t, sample(t, "hardened.yaml"), "LOG_LEVEL", name, "value: info", "value: '"+value+"'"))
		if got := worst(r, "SECRETS_BY_REFERENCE"); got != want {
			t.Errorf("%s: %s, want %s", variable, got, want)
		}
	}
}
