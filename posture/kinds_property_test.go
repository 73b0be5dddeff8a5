package posture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

const (
	pinnedImage = "us-docker.pkg.dev/acme/prod/api@sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3"
	goodKey     = "projects/acme/locations/us-central1/keyRings/run/cryptoKeys/api"
	goodLimits  = `"resources": [{"limits": {"cpu": "1", "memory": "512Mi"}}], "startup_probe": [{"http_get": [{"path": "/"}]}]`
	goodRest    = `"name": "%s", "location": "us-central1", "project": "acme", "binary_authorization": [{"use_default": true}], `
	goodPod     = `"service_account": "api@acme.iam.gserviceaccount.com", "encryption_key": "` + goodKey + `",
  "vpc_access": [{"egress": "ALL_TRAFFIC", "network_interfaces": [{"network": "prod"}]}], "containers": [{"image": "` + pinnedImage + `", ` + goodLimits + `}]`
	goodRules = `[{"action": "deny(403)", "priority": 1, "match": [{"expr": [{"expression": "evaluatePreconfiguredWaf('sqli-v33-stable')"}]}]},
  {"action": "deny(403)", "priority": 2, "match": [{"expr": [{"expression": "evaluatePreconfiguredWaf('xss-v33-stable')"}]}]},
  {"action": "throttle", "priority": 3, "match": [{"versioned_expr": "SRC_IPS_V1"}], "rate_limit_options": [{"exceed_action": "deny(429)"}]}]`
)

// set replaces one value of a resource, by its path through blocks, which are lists of one.
func set(value any, path ...string) func(map[string]any) {
	return func(after map[string]any) {
		for _, name := range path[:len(path)-1] {
			after = after[name].([]any)[0].(map[string]any)
		}
		after[path[len(path)-1]] = value
	}
}

// A guarded resource is good, and each of its guards that is taken away is a denial.
type guarded struct {
	kind, after string
	take        []func(map[string]any)
}

// guardedResources has every type that a rule is about, but those in property_test.go and the families of grants.
func guardedResources() []guarded {
	public := set("allUsers", "member")
	owner := set("roles/owner", "role")
	redirect := `{"name": "redirect", "default_url_redirect": [{"https_redirect": true}]}`
	serve := set("b", "default_service")
	workload := []func(map[string]any){set(nil, "binary_authorization"), set(nil, "template", "service_account"), set(nil, "template", "vpc_access"),
		set("nginx", "template", "containers", "image"), set(nil, "template", "containers", "resources"), set(nil, "template", "encryption_key"),
		set([]any{map[string]any{"name": "DB_PASSWORD", "value": "hunter2"}}, "template", "containers", "env"), set("europe-west1", "location"),
		set([]any{map[string]any{"name": "v", "nfs": []any{map[string]any{"server": "203.0.113.1", "path": "/"}}}}, "template", "volumes")}
	list := func(kind string) guarded {
		return guarded{kind, `{"constraint": "constraints/run.allowedIngress", "list_policy": [{"allow": [{"values": ["internal"]}]}]}`,
			[]func(map[string]any){set(nil, "list_policy"), set([]any{"all"}, "list_policy", "allow", "values")}}
	}

	return []guarded{
		{"google_cloud_run_v2_worker_pool", fmt.Sprintf(`{`+goodRest+`"template": [{`+goodPod+`}]}`, "pool"), workload[:8]},
		{"google_cloud_run_v2_instance", fmt.Sprintf(`{`+goodRest+`"default_uri_disabled": true,
		  "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", `+goodPod+`}`, "instance"),
			[]func(map[string]any){set("INGRESS_TRAFFIC_ALL", "ingress"), set(true, "invoker_iam_disabled"),
				set(true, "ssh_enabled"), set(nil, "service_account")}},
		{"google_cloud_run_service", `{"name": "old", "location": "us-central1", "project": "acme",
		  "metadata": [{"annotations": {"run.googleapis.com/ingress": "internal",
  "run.googleapis.com/binary-authorization": "default"}}], "template": [{"metadata": [{"annotations": {"run.googleapis.com/encryption-key": "` + goodKey + `",
  "run.googleapis.com/post-key-revocation-action-type": "shut-down", "autoscaling.knative.dev/minScale": "1", "autoscaling.knative.dev/maxScale": "2",
  "run.googleapis.com/network-interfaces": "[{\"network\":\"prod\"}]", "run.googleapis.com/vpc-access-egress": "all-traffic"}}],
  "spec": [{"service_account_name": "api@acme.iam.gserviceaccount.com", "timeout_seconds": 60, "container_concurrency": 80,
  "containers": [{"image": "` + pinnedImage + `", ` + goodLimits + `}]}]}]}`,
			[]func(map[string]any){set(nil, "metadata"), set(nil, "template", "metadata"), set(900, "template", "spec", "timeout_seconds"),
				set("nginx", "template", "spec", "containers", "image"), set(nil, "template", "spec", "service_account_name")}},
		{"google_compute_region_ssl_policy", `{"name": "regional", "min_tls_version": "TLS_1_3"}`, []func(map[string]any){set(nil, "min_tls_version")}},
		{"google_compute_region_target_https_proxy", `{"name": "regional", "ssl_policy": "regional"}`, []func(map[string]any){set(nil, "ssl_policy")}},
		{"google_compute_target_ssl_proxy", `{"name": "ssl", "ssl_policy": "regional"}`, []func(map[string]any){set("", "ssl_policy")}},
		{"google_compute_url_map", redirect, []func(map[string]any){serve, set(false, "default_url_redirect", "https_redirect")}},
		{"google_compute_target_http_proxy", `{"name": "http", "url_map": "redirect"}`, []func(map[string]any){set("nowhere", "url_map")}},
		{"google_compute_region_url_map", redirect, []func(map[string]any){serve}},
		{"google_compute_region_target_http_proxy", `{"name": "http", "url_map": "redirect"}`, nil},
		{"google_compute_region_backend_service", `{"name": "regional", "load_balancing_scheme": "EXTERNAL_MANAGED", "security_policy": "regional"}`,
			[]func(map[string]any){set(nil, "security_policy")}},
		{"google_compute_region_security_policy", `{"name": "regional", "rules": ` + goodRules + `}`, []func(map[string]any){set(nil, "rules")}},
		{"google_compute_security_policy", `{"name": "separate", "rule": [{"action": "throttle", "priority": 3, "match": [{"versioned_expr": "SRC_IPS_V1"}],
  "rate_limit_options": [{"exceed_action": "deny(429)"}]}]}`, []func(map[string]any){set(nil, "rule")}},
		{"google_compute_security_policy_rule", `{"security_policy": "separate", "action": "deny(403)", "priority": 1, "preview": false,
  "match": [{"expr": [{"expression": "evaluatePreconfiguredWaf('sqli-v33-stable') || evaluatePreconfiguredWaf('xss-v33-stable')"}]}]}`,
			[]func(map[string]any){set(true, "preview"), set("allow", "action"), set(5, "priority"), set("", "security_policy")}},
		{"google_compute_region_security_policy_rule", `{"security_policy": "regional", "action": "allow", "priority": 9,
		  "match": [{"versioned_expr": "SRC_IPS_V1"}]}`,
			[]func(map[string]any){set(0, "priority")}},
		{"google_alloydb_instance", `{"name": "a", "network_config": [{"enable_public_ip": false}]}`, []func(map[string]any){set(true, "network_config",
			"enable_public_ip")}},
		{"google_compute_router", `{"name": "r", "network": "prod"}`, nil},
		{"google_compute_router_nat", `{"name": "n", "router": "r", "region": "us-central1", "nat_ip_allocate_option": "MANUAL_ONLY", "nat_ips": ["a"]}`,
			[]func(map[string]any){set("AUTO_ONLY", "nat_ip_allocate_option"), set([]any{}, "nat_ips")}},
		{"google_access_context_manager_service_perimeters", `{"service_perimeters": [{"status": [{"resources": ["projects/1"],
		  "restricted_services": ["a.googleapis.com"]}]}]}`,
			[]func(map[string]any){set(nil, "service_perimeters", "status")}},
		list("google_organization_policy"), list("google_folder_organization_policy"), list("google_project_organization_policy"),
		{"google_project_iam_binding", `{"project": "acme", "role": "roles/cloudtrace.agent", "members": ["serviceAccount:api@acme.iam.gserviceaccount.com"]}`,
			[]func(map[string]any){owner, set([]any{"allUsers"}, "members"), set("roles/iam.serviceAccountTokenCreator", "role"),
				set("roles/secretmanager.secretAccessor", "role")}},
		{"google_service_account_iam_member", `{"service_account_id": "projects/acme/serviceAccounts/x@acme.iam.gserviceaccount.com",
		  "role": "roles/iam.serviceAccountUser",
  "member": "group:a@acme.example"}`, []func(map[string]any){public, set("serviceAccount:api@acme.iam.gserviceaccount.com", "member")}},
		{"google_iap_web_backend_service_iam_member", `{"web_backend_service": "pages", ` +
			`"role": "roles/iap.httpsResourceAccessor", "member": "group:a@acme.example"}`,
			[]func(map[string]any){public}},
		{"google_container_analysis_note_iam_member", `{"note": "n", "role": "roles/containeranalysis.notes.viewer", "member": "group:a@acme.example"}`,
			[]func(map[string]any){public}},
	}
}

// richPlan is a plan with a resource of every kind; changed has changed one of them, if not nil.
func richPlan(t testing.TB, which int, changed func(map[string]any)) map[string]any {
	t.Helper()
	v := wholePlan(t)
	for i, g := range guardedResources() {
		after := value(t, g.after)
		if i == which {
			changed(after)
		}
		v["resource_changes"] = append(changes(v), value(t, resource(g.kind, fmt.Sprintf("g%d", i), encoded(t, after))))
	}

	return v
}

// asState is a plan's resources as a state has them after it was applied.
func asState(v map[string]any) map[string]any {
	var all []any
	for i, c := range changes(v) {
		c := c.(map[string]any)
		change := c["change"].(map[string]any)
		after := maps.Clone(change["after"].(map[string]any))
		all = append(all, map[string]any{"mode": "managed", "type": c["type"], "name": fmt.Sprintf("r%d", i),
			"instances": []any{map[string]any{"attributes": after}}})
	}

	return map[string]any{"version": 4, "lineage": "l", "resources": all}
}

// TestEveryGuardCounts: in a plan that passes, every guard of every kind of resource that is taken away is a denial, in the plan and in
// the state that it leaves; a public grant beside it never helps.
func TestEveryGuardCounts(t *testing.T) {
	if r := mustStrictly(t, richPlan(t, -1, nil)); r.Verdict != attestor.Pass {
		t.Fatalf("%s: %s", r.Verdict, strings.Join(bad(r), "\n"))
	}

	everything := os.Getenv("GATE_TEST_ALL") != "" // otherwise one guard of each kind
	taken := 0
	for i, g := range guardedResources() {
		for n, take := range g.take {
			if n > 0 && !everything {
				continue
			}

			v := richPlan(t, i, take)
			r := mustStrictly(t, v)
			taken++
			if r.Verdict != attestor.Deny && !missingOnly(g.kind) || r.Verdict == attestor.Pass {
				t.Errorf("%s without guard %d: %s", g.kind, n, r.Verdict)
			}

			v["resource_changes"] = append(changes(v), value(t, resource("google_project_iam_member", "everybody", `{"project": "acme",
			  "role": "roles/run.invoker", "member": "allUsers"}`)))
			if r := mustStrictly(t, v); r.Verdict != attestor.Deny {
				t.Errorf("%s without guard %d, and for everybody: %s", g.kind, n, r.Verdict)
			}

			if n > 0 {
				continue // one of each kind is enough for its notation
			}
			if r, err := strictly(t, asState(richPlan(t, i, take))); err == nil && r.Verdict == attestor.Pass {
				t.Errorf("the state of %s without guard %d passes", g.kind, n)
			}
		}
	}
	if everything && taken < 50 || taken < 20 {
		t.Errorf("only %d guards", taken)
	}
}

// missingOnly are the kinds without which evidence is missing: a proxy that leads to a URL map elsewhere.
func missingOnly(kind string) bool { return kind == "google_compute_target_http_proxy" }

func bad(r attestor.PostureReport) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Status != attestor.StatusPass && f.Status != attestor.StatusSkipped {
			out = append(out, f.Rule+" "+f.Service+" "+string(f.Status)+" "+f.Message)
		}
	}

	return out
}

// TestEveryKindIsMutated: the properties are about every type that a rule is about.
func TestEveryKindIsMutated(t *testing.T) {
	there := map[string]bool{"google_service_account_key": true} // there is no good one: its presence is the fault
	for _, c := range changes(richPlan(t, -1, nil)) {
		there[c.(map[string]any)["type"].(string)] = true
	}

	for _, kind := range slices.Sorted(maps.Keys(posture.JudgedTypes())) {
		family, _, grant := strings.Cut(kind, "_iam_")
		if grant {
			continue // families of grants in three forms: TestWhoMayCall, TestGrantsToEverybodyElsewhere
		}
		if kind != "google_cloudfunctions2_function" && kind != "google_cloud_run_v2_job" && !there[kind] { // TestEveryKindOfContainer
			t.Errorf("%s is in no plan that is mutated", family)
		}
	}
}

// TestMutatedKinds: plans with every kind of resource that were changed at random are judged or refused, and their states alike; order
// means nothing.
func TestMutatedKinds(t *testing.T) {
	rng := random(t)
	for i := range 8 {
		v := richPlan(t, -1, nil)
		mutate(rng, v, 1+rng.IntN(4))
		before, err := strictly(t, v)
		if err != nil {
			if !isInvalid(err) {
				t.Errorf("%d: %v", i, err)
			}
			continue
		}

		if lack := critical(v); lack != "" && before.Verdict == attestor.Pass {
			t.Errorf("%d: passes with %s", i, lack)
		}

		want := statuses(before)
		var copied map[string]any
		if err := json.Unmarshal([]byte(encoded(t, v)), &copied); err != nil {
			t.Fatal(err)
		}
		after, err := strictly(t, shuffled(rng, copied, ""))
		if err != nil || after.Verdict != before.Verdict || !slices.Equal(statuses(after), want) {
			t.Errorf("%d: %s became %s, %v", i, before.Verdict, after.Verdict, err)
		}
	}
}
