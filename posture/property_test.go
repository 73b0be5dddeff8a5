package posture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// value is a definition as a value of JSON.
func value(t testing.TB, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func encoded(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func changes(v map[string]any) []any { return v["resource_changes"].([]any) }

func random(t testing.TB) *rand.Rand {
	const seed = 2211 // fixed, so that a failure comes again
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// wholePlan is a plan with a service, its surroundings and grants, of which strict has nothing to say but what needs an attestor.
func wholePlan(t testing.TB) map[string]any {
	t.Helper()
	v := value(t, sample(t, "surroundings.json"))
	v["resource_changes"] = append(changes(v), changes(value(t, sample(t, "plan.json")))...)
	return v
}

func strictly(t testing.TB, v any) (attestor.PostureReport, error) {
	t.Helper()
	return judge(t, builtin(t, "strict"), &attested{answer: true},
		posture.Input{Definitions: []posture.Source{{Name: "plan.json", Text: []byte(encoded(t, v))}},
			ProjectIAM: []posture.Source{{Name: "project.json", Text: []byte(sample(t, "project-iam.json"))}}})
}

func mustStrictly(t testing.TB, v any) attestor.PostureReport {
	t.Helper()
	r, err := strictly(t, v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// statuses are the findings of a report without their order and their words.
func statuses(r attestor.PostureReport) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Rule+" "+f.Service+" "+string(f.Status))
	}
	slices.Sort(out)
	return out
}

// TestWholePlanPasses: the other properties begin with a pass, so that they can fail.
func TestWholePlanPasses(t *testing.T) {
	if r := mustStrictly(t, wholePlan(t)); r.Verdict != attestor.Pass {
		t.Fatalf("%s: %s", r.Verdict, strings.Join(statuses(r), "\n"))
	}
}

// TestAPublicGrantNeverHelps: whatever a plan says, a grant to everybody turns no denial into a pass, and a pass into a denial.
func TestAPublicGrantNeverHelps(t *testing.T) {
	rng := random(t)
	grant := func(kind, after string) any { return value(t, resource(kind, "everybody", after)) }
	name := changes(value(t, sample(t, "plan.json")))[0].(map[string]any)["change"].(map[string]any)["after"].(map[string]any)["name"].(string)
	grants := []any{
		grant("google_cloud_run_v2_service_iam_member", fmt.Sprintf(`{"name": %q, "role": "roles/run.invoker", "member": "allUsers"}`, name)),
		grant("google_cloud_run_service_iam_binding", fmt.Sprintf(
			`{"service": %q, "role": "roles/run.developer", "members": ["allAuthenticatedUsers"]}`, name)),
		grant("google_folder_iam_member", `{"folder": "folders/1", "role": "roles/run.invoker", "member": "allUsers"}`),
		grant("google_organization_iam_binding", `{"org_id": "1", "role": "organizations/1/roles/caller", "members": ["user:a@acme.example", "allUsers"]}`),
		grant("google_project_iam_policy", `{"policy_data": "{\"bindings\": [{\"role\": \"roles/run.invoker\", \"members\": [\"allUsers\"]}]}"}`),
	}
	for i := range 200 {
		v := wholePlan(t)
		if i > 0 { // the first is the one that passes
			mutate(rng, v, 1+rng.IntN(4))
		}
		before, err := strictly(t, v)
		if err != nil {
			continue
		}
		g := grants[i%len(grants)]
		v["resource_changes"] = append(changes(v), g)
		after, err := strictly(t, v)
		if err == nil && (after.Verdict == attestor.Pass || after.Verdict != attestor.Deny && before.Verdict == attestor.Deny) {
			t.Errorf("%d: %s became %s by %s", i, before.Verdict, after.Verdict, encoded(t, g))
		}
	}
}

// guards are what stands in a way in the plan that passes, each taken away by one edit.
var guards = map[string]func(after map[string]any) bool{
	"google_compute_security_policy": func(after map[string]any) bool {
		rules, _ := after["rule"].([]any)
		for i, r := range rules {
			if r.(map[string]any)["action"] != "allow" {
				after["rule"] = slices.Delete(slices.Clone(rules), i, i+1)
				return true
			}
		}
		return false
	},
	"google_compute_ssl_policy": func(after map[string]any) bool { delete(after, "min_tls_version"); return true },
	"google_cloud_run_v2_service": func(after map[string]any) bool {
		after["ingress"] = nil
		return true
	},
	"google_binary_authorization_policy": func(after map[string]any) bool {
		after["default_admission_rule"] = []any{map[string]any{"evaluation_mode": "ALWAYS_ALLOW"}}
		return true
	},
	"google_access_context_manager_service_perimeter": func(after map[string]any) bool { after["status"] = nil; return true },
	"google_iam_workload_identity_pool_provider":      func(after map[string]any) bool { after["attribute_condition"] = "true"; return true },
	"google_org_policy_policy":                        func(after map[string]any) bool { after["spec"] = nil; return true },
	"google_compute_service_attachment":               func(after map[string]any) bool { delete(after, "connection_preference"); return true },
	"google_sql_database_instance":                    func(after map[string]any) bool { after["settings"] = nil; return true },
}

// TestTakingAGuardAwayNeverHelps: in the plan that passes every guard counts, and in any other none that is taken away makes it pass.
func TestTakingAGuardAwayNeverHelps(t *testing.T) {
	rng := random(t)
	took := map[string]bool{}
	for i := range 200 {
		v := wholePlan(t)
		if i >= 20 {
			mutate(rng, v, 1+rng.IntN(3))
		}
		before, err := strictly(t, v)
		if err != nil {
			continue
		}
		all := changes(v)
		c := all[i%len(all)].(map[string]any)
		kind, _ := c["type"].(string)
		change, _ := c["change"].(map[string]any)
		after, _ := change["after"].(map[string]any)
		take := guards[kind]
		if take == nil || after == nil || !take(after) {
			continue
		}
		took[kind] = true
		got, err := strictly(t, v)
		if err == nil && got.Verdict == attestor.Pass || before.Verdict == attestor.Deny && err == nil && got.Verdict != attestor.Deny {
			t.Errorf("%d: %s became %s without a guard of %s", i, before.Verdict, got.Verdict, kind)
		}
	}
	for kind := range guards {
		if !took[kind] {
			t.Errorf("no guard of %s was taken away", kind)
		}
	}
}

// sets are the lists whose order means nothing to the API.
var sets = []string{"resource_changes", "rule", "members", "restricted_services", "resources", "env",
	"cluster_admission_rules", "src_ip_ranges", "require_attestations_by",
	"admission_whitelist_patterns", "allowed_values", "volumes", "bindings", "regions"}

func shuffled(rng *rand.Rand, v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = shuffled(rng, v[key], key)
		}
	case []any:
		for i := range v {
			v[i] = shuffled(rng, v[i], "")
		}
		if slices.Contains(sets, name) {
			rng.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
		}
	}
	return v
}

// reversed writes JSON with the keys of each object in descending order.
func reversed(t testing.TB, v any) string {
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for _, key := range slices.Backward(slices.Sorted(maps.Keys(v))) {
			parts = append(parts, encoded(t, key)+":"+reversed(t, v[key]))
		}
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		var parts []string
		for _, item := range v {
			parts = append(parts, reversed(t, item))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	return encoded(t, v)
}

// TestOrderMeansNothing: resources, keys and lists that the API treats as sets may be in any order.
func TestOrderMeansNothing(t *testing.T) {
	rng := random(t)
	for i := range 100 {
		v := wholePlan(t)
		if i > 0 {
			mutate(rng, v, rng.IntN(4))
		}
		in := func(text string) posture.Input {
			return posture.Input{Definitions: []posture.Source{{Name: "plan.json", Text: []byte(text)}}}
		}
		before, err := judge(t, builtin(t, "strict"), nil, in(encoded(t, v)))
		if err != nil {
			continue
		}
		want := statuses(before)
		after, err := judge(t, builtin(t, "strict"), nil, in(reversed(t, shuffled(rng, v, ""))))
		if err != nil || after.Verdict != before.Verdict || !slices.Equal(statuses(after), want) {
			t.Errorf("%d: %s became %s, %v\n%q\n%q", i, before.Verdict, after.Verdict, err, want, statuses(after))
		}
	}
}

// mutate changes values at random: removes them, replaces them by others of other types, doubles elements.
func mutate(rng *rand.Rand, v any, times int) {
	var places []func()
	replacements := []any{nil, "", "true", "allUsers", 0, -1, 1e9, []any{}, map[string]any{}, []any{map[string]any{}}, "projects/p", true}
	var walk func(v any, depth int)
	walk = func(v any, depth int) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				if depth > 2 { // the plan itself stays one
					places = append(places, func() { delete(v, key) }, func() { v[key] = replacements[rng.IntN(len(replacements))] })
				}
				walk(v[key], depth+1)
			}
		case []any:
			for i := range v {
				if depth > 2 {
					places = append(places, func() { v[i] = replacements[rng.IntN(len(replacements))] })
				}
				walk(v[i], depth+1)
			}
		}
	}
	walk(v, 0)
	for range times {
		if len(places) > 0 {
			places[rng.IntN(len(places))]()
		}
	}
}

// critical are what no mutated definition may lack and pass, by a look at the value itself that shares nothing with the rules.
func critical(v map[string]any) string {
	for _, c := range changes(v) {
		c, _ := c.(map[string]any)
		change, _ := c["change"].(map[string]any)
		after, _ := change["after"].(map[string]any)
		if after == nil { // what is deleted, or not there
			continue
		}
		text := fmt.Sprint(after)
		switch kind, _ := c["type"].(string); kind {
		case "google_cloud_run_v2_service":
			if !strings.Contains(text, "@sha256:") {
				return "an image without a digest"
			}
			if ingress := fmt.Sprint(after["ingress"]); !strings.Contains(ingress, "INTERNAL") &&
				!strings.Contains(ingress, "NONE") && ingress != "2" && ingress != "3" {
				return "ingress " + ingress
			}
			if fmt.Sprint(after["invoker_iam_disabled"]) == "true" {
				return "no check of invokers"
			}
		case "google_sql_database_instance":
			if !strings.Contains(text, "ipv4_enabled:false") {
				return "a database that may have a public address"
			}
		case "google_binary_authorization_policy":
			if strings.Contains(text, "ALWAYS_ALLOW") || !strings.Contains(text, "REQUIRE_ATTESTATION") {
				return "no attestation required"
			}
		case "google_service_account_key":
			return "a key"
		}
		grant := fmt.Sprint(after["member"], after["members"], after["role"], after["policy_data"])
		if kind, _ := c["type"].(string); strings.Contains(kind, "_iam_") && (strings.Contains(grant, "allUsers") || strings.Contains(grant, "roles/owner")) {
			return "a grant to everybody"
		}
	}
	return ""
}

// TestMutatedDefinitions: a thousand definitions that were changed at random are judged or refused, and none passes that lacks what it
// must have.
func TestMutatedDefinitions(t *testing.T) {
	rng := random(t)
	outcomes := map[string]int{}
	for i := range 1000 {
		v := wholePlan(t)
		mutate(rng, v, 1+rng.IntN(5))
		r, err := strictly(t, v)
		if err != nil {
			if !isInvalid(err) {
				t.Errorf("%d: %v", i, err)
			}
			outcomes["refused"]++
			continue
		}
		outcomes[string(r.Verdict)]++
		if lack := critical(v); lack != "" && r.Verdict == attestor.Pass {
			t.Errorf("%d: passes with %s: %s", i, lack, encoded(t, v))
		}
	}
	t.Log(outcomes)
	if outcomes["pass"] == 0 || outcomes["deny"] == 0 || outcomes["refused"] == 0 {
		t.Errorf("the mutations reach only %v", outcomes)
	}
}

// TestFiveThousandResources judges a plan of that size and prints the time.
func TestFiveThousandResources(t *testing.T) {
	var all []string
	for i := range 1250 {
		name := fmt.Sprintf("s%d", i)
		all = append(all,
			resource("google_cloud_run_v2_service", name, fmt.Sprintf(`{"name": %q, "project": "acme", `+
				`"location": "us-east1", "template": [{"containers": [{"image": "nginx"}]}]}`, name)),
			resourceUnknown("google_cloud_run_v2_service_iam_member", name, fmt.Sprintf(`{"name": %q, "project": `+
				`"acme", "location": "us-east1", "role": "roles/run.invoker"}`, name), `{"member": true}`),
			resource("google_compute_backend_service", name, fmt.Sprintf(`{"name": "b%d", "security_policy": "p%d"}`, i, i)),
			resource("google_compute_security_policy", name, fmt.Sprintf(`{"name": "p%d", "rule": [%s]}`, i,
				armorRule("1", "deny(403)", "evaluatePreconfiguredWaf('sqli-v33-stable')"))))
	}
	in := posture.Input{Definitions: []posture.Source{source(plan(all...))}}
	began := time.Now()
	r := mustJudge(t, builtin(t, "hipaa"), nil, in)
	t.Logf("%d resources, %d findings in %s", len(all), len(r.Findings), time.Since(began).Round(time.Millisecond))
	if r.Services != 1250 || r.Verdict != attestor.Deny {
		t.Errorf("%d services, %s", r.Services, r.Verdict)
	}
}
