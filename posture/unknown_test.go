package posture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// A spot is a value of a resource: the names of fields, and the numbers of elements, that lead to it.
type spot []any

// at is a spot of a text: "template 0 scaling".
func at(path string) (out spot) {
	for _, step := range strings.Fields(path) {
		if i, err := strconv.Atoi(step); err == nil {
			out = append(out, i)
			continue
		}
		out = append(out, step)
	}
	return out
}

// generic is a spot without the numbers of elements.
func (s spot) generic() string {
	var out []string
	for _, step := range s {
		if name, ok := step.(string); ok {
			out = append(out, name)
		}
	}
	return strings.Join(out, ".")
}

// spots are all values of a resource, those that hold others first.
func spots(v any, at spot, out *[]spot) {
	if len(at) > 0 {
		*out = append(*out, slices.Clone(at))
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			spots(v[key], append(at, key), out)
		}
	case []any:
		for i := range v {
			spots(v[i], append(at, i), out)
		}
	}
}

// put writes a value at a spot, and what is missing above it. nil takes a field away.
func put(v any, at spot, to any) any {
	if len(at) == 0 {
		return to
	}
	switch step := at[0].(type) {
	case string:
		m, _ := v.(map[string]any)
		if m == nil {
			m = map[string]any{}
		}
		if m[step] = put(m[step], at[1:], to); len(at) == 1 && to == nil {
			delete(m, step)
		}
		return m
	case int:
		l, _ := v.([]any)
		for len(l) <= step {
			l = append(l, map[string]any{})
		}
		l[step] = put(l[step], at[1:], to)
		return l
	}
	return v
}

// hide makes a value known only after apply, as a plan shows it: it is not among the values, and true among what is unknown.
func hide(change map[string]any, at spot) {
	var without any
	if _, element := at[len(at)-1].(int); element {
		without = map[string]any{}
	}
	change["after"] = put(change["after"], at, without)
	change["after_unknown"] = put(change["after_unknown"], at, true)
}

// passes counts the passes of each rule.
func passes(r attestor.PostureReport) map[string]int {
	out := map[string]int{}
	for _, f := range r.Findings {
		if f.Status == attestor.StatusPass {
			out[f.Rule]++
		}
	}
	return out
}

// restsOnOther are the values that a rule passes without, though some value in their place breaks it. There is no other.
var restsOnOther = map[string]string{
	"NO_BASIC_ROLES google_project_iam_member member":                       anAccount,
	"NO_BASIC_ROLES google_project_iam_binding members":                     anAccount + "; a whole list that is unknown does not pass",
	"NO_BASIC_ROLES google_service_account_iam_member member":               anAccount,
	"NO_BASIC_ROLES google_container_analysis_note_iam_member member":       anAccount,
	"IDENTITY_AWARE_PROXY google_iap_web_backend_service_iam_member member": anAccount,
	"ADMISSION_POLICY google_binary_authorization_policy default_admission_rule.require_attestations_by": "the API refuses " +
		"REQUIRE_ATTESTATION by nobody",
	"PROBES google_cloud_run_v2_service template.containers.startup_probe.http_get":                   "the block of a probe is there, whatever it asks",
	"STATIC_EGRESS_IP google_cloud_run_v2_worker_pool template.vpc_access.network_interfaces.network": anInterface,
	"VPC_EGRESS google_cloud_run_v2_worker_pool template.vpc_access.network_interfaces.network":       anInterface,
	"STATIC_EGRESS_IP google_cloud_run_v2_instance vpc_access.network_interfaces.network":             anInterface,
	"VPC_EGRESS google_cloud_run_v2_instance vpc_access.network_interfaces.network":                   anInterface,
	"KEY_REVOCATION google_cloud_run_service template.metadata.annotations.run.googleapis.com/encryption-key": "the action is " +
		"written; CMEK does not pass",
	"TLS_BOUNDED google_compute_region_target_https_proxy ssl_policy":   aReference,
	"TLS_BOUNDED google_compute_target_ssl_proxy ssl_policy":            aReference,
	"TLS_BOUNDED google_compute_target_http_proxy url_map":              aReference,
	"TLS_BOUNDED google_compute_region_target_http_proxy url_map":       aReference,
	"CLOUD_ARMOR google_compute_region_backend_service security_policy": aReference,
	"WAF_RULES google_compute_security_policy rule":                     "separate rules guard it, beside which the provider allows none of its own",
	"STATIC_EGRESS_IP google_compute_router_nat nat_ips":                "the API refuses MANUAL_ONLY without addresses",
}

const (
	anAccount   = "a member that the plan does not know has the name of an account that it makes"
	anInterface = "the API refuses an interface without network and subnetwork"
	aReference  = "a reference to what this plan makes, all of which it judges"
)

// TestUnknownIsNeverAPass: a rule that some value of an attribute breaks does not pass where the attribute, or anything above it, is known
// only after apply.
func TestUnknownIsNeverAPass(t *testing.T) {
	text := encoded(t, richPlan(t, -1, nil))
	before := passes(mustStrictly(t, value(t, text)))
	worse := []any{nil, "", "allUsers", "true", true, false, 0, 100000, []any{}, []any{"allUsers"}, "INGRESS_TRAFFIC_ALL", "roles/owner", "EXTERNAL",
		"DISABLED", "allow", "ALWAYS_ALLOW", "AUTO_ONLY", "ACCEPT_AUTOMATIC", "europe-west1"}

	every := 150 // some of them are enough to see that it works at all
	if os.Getenv("GATE_TEST_ALL") != "" {
		every = 1
	}
	n, needed := 0, 0
	argued := map[string]bool{}
	for i, c := range changes(value(t, text)) {
		c := c.(map[string]any)
		var all []spot
		spots(c["change"].(map[string]any)["after"], nil, &all)
		for _, at := range all {
			if n++; n%every != 0 {
				continue
			}
			judged := func(change func(map[string]any)) map[string]int {
				v := value(t, text)
				change(changes(v)[i].(map[string]any)["change"].(map[string]any))
				if r, err := strictly(t, v); err == nil {
					return passes(r)
				}
				return nil
			}

			needs := map[string]bool{}
			for _, w := range worse {
				if got := judged(func(c map[string]any) { c["after"] = put(c["after"], at, w) }); got != nil {
					for rule := range before {
						needs[rule] = needs[rule] || got[rule] < before[rule]
					}
				}
			}

			got := judged(func(c map[string]any) { hide(c, at) })
			for rule, need := range needs {
				key := fmt.Sprintf("%s %s %s", rule, c["type"], at.generic())
				switch {
				case !need:
				case got[rule] < before[rule]:
					needed++
				case restsOnOther[key] == "" && !byWrongType[key]:
					t.Errorf("%s: passes while %s of %s is not known", rule, at.generic(), c["address"])
				default:
					argued[key] = true
				}
			}
		}
	}
	t.Logf("%d values, %d times a rule does not pass without one", n/every, needed)
	if needed == 0 {
		t.Error("no rule needs anything")
	}
	for key := range restsOnOther {
		if every == 1 && !argued[key] {
			t.Errorf("%s is argued for nothing", key)
		}
	}
}

// byWrongType are rules that only a value of another type breaks, which the API refuses.
var byWrongType = map[string]bool{
	"ACCOUNT_REACH google_service_account_iam_member role":                true,
	"IDENTITY_AWARE_PROXY google_iap_web_backend_service_iam_member role": true,
}

// later are settings that the passing plans do not have: with the bad value each breaks its rules.
var later = []struct {
	kind, path string
	bad        any
	rules      string
}{
	{"google_cloud_run_v2_service", "template 0 containers 0 base_image_uri", "gcr.io/x/base", "IMAGE_BY_DIGEST"},
	{"google_cloud_run_v2_service", "template 0 containers 0 source_code", []any{map[string]any{"a": "b"}}, "IMAGE_BY_DIGEST"},
	{"google_cloud_run_v2_service", "template 0 containers 0 sandbox_launcher", []any{map[string]any{"a": "b"}}, "IMAGE_BY_DIGEST"},
	{"google_cloud_run_v2_service", "template 0 containers 0 args", []any{"--password=hunter2"}, "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "template 0 containers 0 args 0", "--password=hunter2", "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "template 0 containers 0 env 0 name", "DB_PASSWORD", "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "template 0 containers 0 env 0 value", "AKIAIOSFODNN7EXAMPLE", "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "template 0 containers 0 startup_probe 0 http_get 0 http_headers",
		[]any{map[string]any{"name": "Authorization", "value": "x"}}, "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "template 0 containers 1", map[string]any{"image": "nginx"}, "IMAGE_BY_DIGEST RESOURCE_LIMITS"},
	{"google_cloud_run_v2_service", "scaling 0 scaling_mode", "MANUAL", "MIN_INSTANCES MAX_INSTANCES"},
	{"google_cloud_run_v2_service", "binary_authorization 0 breakglass_justification", "urgent", "BINARY_AUTHORIZATION"},
	{"google_cloud_run_v2_service", "ssh_enabled", true, "SHELL_DISABLED"},
	{"google_cloud_run_v2_service", "template 0 health_check_disabled", true, "PROBES"},
	{"google_cloud_run_v2_service", "template 0 volumes", []any{map[string]any{"name": "v", "nfs": []any{map[string]any{"server": "203.0.113.1"}}}},
		"NFS_PRIVATE MOUNTS_READ_ONLY"},
	{"google_cloud_run_v2_service", "template 0 volumes 0 gcs", []any{map[string]any{"bucket": "b"}}, "MOUNTS_READ_ONLY"},
	{"google_cloud_run_v2_service", "template 0 volumes 0 nfs", []any{map[string]any{"server": "203.0.113.1"}}, "NFS_PRIVATE MOUNTS_READ_ONLY"},
	{"google_cloud_run_v2_service", "template 0 sandboxes", []any{map[string]any{"templates": []any{map[string]any{"image": "nginx"}}}}, "IMAGE_BY_DIGEST"},
	{"google_cloud_run_v2_service", "labels", map[string]any{"a": "AKIAIOSFODNN7EXAMPLE"}, "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "annotations note", "AKIAIOSFODNN7EXAMPLE", "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "description", "AKIAIOSFODNN7EXAMPLE", "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "multi_region_settings 0 regions", []any{"europe-west1"}, "REGION_APPROVED"},
	{"google_cloud_run_v2_service", "multi_region_settings 0 regions 0", "europe-west1", "REGION_APPROVED"},
	{"google_cloud_run_v2_service", "build_config 0 enable_automatic_updates", true, "IMAGE_BY_DIGEST"},
	{"google_cloud_run_v2_service", "build_config 0 environment_variables", map[string]any{"TOKEN": "hunter2hunter2"}, "SECRETS_BY_REFERENCE"},
	{"google_cloud_run_v2_service", "traffic 0 revision", "old", "REVISION_JUDGED"},
	{"google_cloud_run_v2_service", "instance_splits", []any{map[string]any{"revision": "old"}}, "REVISION_JUDGED"},
	{"google_cloud_run_v2_instance", "ssh_enabled", true, "SHELL_DISABLED"},
	{"google_cloud_run_service", "metadata 0 annotations run.googleapis.com/scalingMode", "manual", "MIN_INSTANCES MAX_INSTANCES"},
	{"google_cloud_run_service", "metadata 0 annotations run.googleapis.com/build-environment-variables", `{"TOKEN": "hunter2hunter2"}`,
		"SECRETS_BY_REFERENCE"},
	{"google_cloud_run_service", "template 0 metadata 0 annotations run.googleapis.com/base-images", `{"a":"b"}`, "IMAGE_BY_DIGEST"},
	{"google_cloud_run_service", "template 0 metadata 0 annotations run.googleapis.com/sources", `{"a":"gs://b"}`, "IMAGE_BY_DIGEST"},
	{"google_cloud_run_service", "template 0 spec 0 runtime_class_name", "run.googleapis.com/linux-base-image-update", "IMAGE_BY_DIGEST"},
	{"google_cloud_run_service", "template 0 spec 0 volumes 0 csi 0 driver", "gcsfuse.run.googleapis.com", "MOUNTS_READ_ONLY"},
	{"google_cloud_run_service", "template 0 metadata", []any{map[string]any{}}, "CMEK MIN_INSTANCES VPC_EGRESS"},
	{"google_cloud_run_service", "traffic 0 revision_name", "old", "REVISION_JUDGED"},
	{"google_compute_url_map", "path_matcher", []any{map[string]any{"default_service": "b"}}, "TLS_BOUNDED"},
	{"google_compute_security_policy_rule", "match 0 config 0 src_ip_ranges", []any{"9.9.9.9/32"}, ""}, // beside an expression
	{"google_access_context_manager_service_perimeter", "status 0 ingress_policies", []any{map[string]any{
		"ingress_from": []any{map[string]any{"identity_type": "ANY_IDENTITY"}},
		"ingress_to":   []any{map[string]any{"operations": []any{map[string]any{"service_name": "*"}}}}}}, "SERVICE_PERIMETER"},
	{"google_org_policy_policy", "spec 0 reset", true, "ORGANIZATION_POLICIES"},
	{"google_binary_authorization_policy", "istio_service_identity_admission_rules", []any{map[string]any{"evaluation_mode": "ALWAYS_ALLOW"}},
		"ADMISSION_POLICY"},
	{"google_binary_authorization_policy", "default_admission_rule 0 enforcement_mode", "DRYRUN_AUDIT_LOG_ONLY", "ADMISSION_POLICY"},
	{"google_artifact_registry_repository", "vulnerability_scanning_config 0 enablement_config", "DISABLED", "IMAGES_SCANNED"},
	{"google_sql_database_instance", "settings 0 ip_configuration 0 ssl_mode", "ALLOW_UNENCRYPTED_AND_ENCRYPTED", "DATABASE_ENCRYPTED"},
	{"google_project_iam_member", "role", "roles/owner", "NO_BASIC_ROLES LEAST_PRIVILEGE"},
}

// TestUnknownFaultsAreNamed: a fault that is known only after apply is not absent: its rule cannot be judged, and says which value to write.
func TestUnknownFaultsAreNamed(t *testing.T) {
	text := encoded(t, richPlan(t, -1, nil))
	before := passes(mustStrictly(t, value(t, text)))
	for n, tt := range later {
		if n%3 != 0 && os.Getenv("GATE_TEST_ALL") == "" {
			continue
		}
		i := slices.IndexFunc(changes(value(t, text)), func(c any) bool { return c.(map[string]any)["type"] == tt.kind })
		if i < 0 {
			t.Fatalf("the plan has no %s", tt.kind)
		}
		judged := func(change func(map[string]any)) attestor.PostureReport {
			v := value(t, text)
			c := changes(v)[i].(map[string]any)["change"].(map[string]any)
			if strings.HasSuffix(tt.path, "env 0 name") { // the value alone looks like nothing
				c["after"] = put(c["after"], at("template 0 containers 0 env 0 value"), "hunter2")
			}
			change(c)
			return mustStrictly(t, v)
		}

		bad := judged(func(c map[string]any) { c["after"] = put(c["after"], at(tt.path), tt.bad) })
		unknown := judged(func(c map[string]any) { hide(c, at(tt.path)) })
		for _, rule := range strings.Fields(tt.rules) {
			if passes(bad)[rule] >= before[rule] {
				t.Errorf("%s %s: %v does not break %s", tt.kind, tt.path, tt.bad, rule)
			}
			if passes(unknown)[rule] >= before[rule] {
				t.Errorf("%s %s: not known, and %s passes", tt.kind, tt.path, rule)
			}
			named := slices.ContainsFunc(unknown.Findings, func(f attestor.PostureFinding) bool {
				return f.Rule == rule && (f.Status == attestor.StatusDeny || f.Status == attestor.StatusError &&
					strings.Contains(f.Message, "known only after apply") && f.Fix != "")
			})
			if !named {
				t.Errorf("%s %s: no finding of %s names it", tt.kind, tt.path, rule)
			}
		}
	}
}

// providerPlan is a plan as Terraform makes it with Google's provider, which has defaults for much: testdata/provider/main.tf.
func providerPlan(t testing.TB, edit func(v map[string]any)) attestor.PostureReport {
	t.Helper()
	v := value(t, sample(t, "provider/plan.json"))
	if edit != nil {
		edit(v)
	}
	return mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(encoded(t, v))}})
}

// TestDefaultsOfTheProvider: a setting that the configuration leaves to the provider is judged as its default, whatever the plan does not
// know of it; one that it takes from elsewhere cannot be judged.
func TestDefaultsOfTheProvider(t *testing.T) {
	r := providerPlan(t, nil)
	status := func(r attestor.PostureReport, name, rule string) (attestor.Status, string) {
		for _, f := range r.Findings {
			if f.Rule == rule && strings.HasSuffix(f.Service, name) {
				return f.Status, f.Message
			}
		}
		return "", ""
	}
	for name, want := range map[string]map[attestor.Status]string{
		"/good": {attestor.StatusPass: "INGRESS_RESTRICTED DEFAULT_URL_DISABLED DEDICATED_SERVICE_ACCOUNT VPC_EGRESS MIN_INSTANCES " +
			"MAX_INSTANCES RESOURCE_LIMITS TIMEOUT_BOUNDED CONCURRENCY_SET IMAGE_BY_DIGEST BINARY_AUTHORIZATION CMEK PROBES REVISION_JUDGED " +
			"SECRETS_BY_REFERENCE SECRET_VERSION_PINNED SHELL_DISABLED"},
		"/bare": {attestor.StatusDeny: "INGRESS_RESTRICTED DEDICATED_SERVICE_ACCOUNT VPC_EGRESS MIN_INSTANCES MAX_INSTANCES RESOURCE_LIMITS " +
			"TIMEOUT_BOUNDED CONCURRENCY_SET IMAGE_BY_DIGEST BINARY_AUTHORIZATION CMEK", attestor.StatusPass: "REVISION_JUDGED SECRETS_BY_REFERENCE"},
		"/old": {attestor.StatusDeny: "INGRESS_RESTRICTED DEDICATED_SERVICE_ACCOUNT VPC_EGRESS MIN_INSTANCES RESOURCE_LIMITS TIMEOUT_BOUNDED CMEK " +
			"BINARY_AUTHORIZATION IMAGE_BY_DIGEST", attestor.StatusPass: "REVISION_JUDGED SECRETS_BY_REFERENCE"},
		"/later": {attestor.StatusSkipped: "INGRESS_RESTRICTED DEDICATED_SERVICE_ACCOUNT MIN_INSTANCES MAX_INSTANCES RESOURCE_LIMITS TIMEOUT_BOUNDED " +
			"IMAGE_BY_DIGEST BUILD_ACCOUNT"},
		"in.yaml": {attestor.StatusPass: "WAF_RULES", attestor.StatusDeny: "RATE_LIMITED"},
	} {
		for status1, rules := range want {
			for _, rule := range strings.Fields(rules) {
				got, message := status(r, name, rule)
				if got != status1 || status1 == attestor.StatusSkipped && !strings.Contains(message, "known only after apply") {
					t.Errorf("%s %s: %s: %s, want %s", name, rule, got, message, status1)
				}
			}
		}
	}

	// A rule that a dynamic block makes has no words in the configuration: whether it is in preview is not to be seen.
	dynamic := providerPlan(t, func(v map[string]any) {
		for _, r := range v["configuration"].(map[string]any)["root_module"].(map[string]any)["resources"].([]any) {
			if r := r.(map[string]any); r["address"] == "google_compute_security_policy.written" {
				delete(r["expressions"].(map[string]any), "rule")
			}
		}
	})
	if got, message := status(dynamic, "in.yaml", "WAF_RULES"); got != attestor.StatusSkipped || !strings.Contains(message, "rule[0].preview") {
		t.Errorf("rules of a dynamic block: %s %s", got, message)
	}

	// Without the configuration nothing tells a default from a reference: no timeout is a pass then.
	bare := providerPlan(t, func(v map[string]any) { delete(v, "configuration") })
	for _, name := range []string{"/good", "/bare"} {
		if got, _ := status(bare, name, "REVISION_JUDGED"); got == attestor.StatusPass {
			t.Errorf("%s: traffic that is not known, and REVISION_JUDGED passes", name)
		}
	}
}

// TestUnknownTimeout: the default of five minutes keeps a lax profile's rule, but only where it is known to be the default.
func TestUnknownTimeout(t *testing.T) {
	lax := custom(t, "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: ours}\nspec: {extends: strict, maxTimeout: 900s}\n")
	v := value(t, sample(t, "provider/plan.json"))
	timeout := func(v map[string]any, name string) attestor.PostureFinding {
		r := mustJudge(t, lax, &attested{answer: true}, posture.Input{Definitions: []posture.Source{source(encoded(t, v))}})
		for _, f := range r.Findings {
			if f.Rule == "TIMEOUT_BOUNDED" && strings.HasSuffix(f.Service, name) {
				return f
			}
		}
		t.Fatalf("no finding for %s", name)
		return attestor.PostureFinding{}
	}
	if f := timeout(v, "/bare"); f.Status != attestor.StatusPass {
		t.Errorf("the default: %s %s", f.Status, f.Message)
	}
	if f := timeout(v, "/later"); f.Status != attestor.StatusError {
		t.Errorf("a reference: %s %s", f.Status, f.Message)
	}
	delete(v, "configuration")
	if f := timeout(v, "/bare"); f.Status != attestor.StatusError {
		t.Errorf("without configuration: %s %s", f.Status, f.Message)
	}
}

// TestStrangeMembers: a member that is known only after apply is an account of Google's, or cannot be judged.
func TestStrangeMembers(t *testing.T) {
	for from, want := range map[string]attestor.Status{
		"google_service_account.a.email": attestor.StatusPass, "terraform_data.who.output": attestor.StatusSkipped, "local.who": attestor.StatusPass,
	} {
		for _, kind := range []string{"google_project_iam_member member", "google_project_iam_binding members"} {
			kind, attribute, _ := strings.Cut(kind, " ")
			unknown := `true`
			if attribute == "members" {
				unknown = `[true]`
			}
			text := strings.TrimSuffix(plan(resourceUnknown(kind, "g", `{"project": "acme", "role": "roles/run.invoker"}`,
				`{"`+attribute+`": `+unknown+`}`)), "}") + fmt.Sprintf(`, "configuration": {"root_module": {"resources": [{"address": %q, "expressions": `+
				`{%q: {"references": [%q]}}}]}}}`, kind+".g", attribute, from)
			if !json.Valid([]byte(text)) {
				t.Fatal(text)
			}
			if f := finding(t, hipaa(t, text), "NO_BASIC_ROLES"); f.Status != want {
				t.Errorf("%s of %s: %s %s", kind, from, f.Status, f.Message)
			}
		}
	}
}
