package posture_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// brokenPlan breaks one rule at a time in surroundings.json.
var brokenPlan = []struct {
	name, rule string
	edits      []string
	found      string
}{
	{"TLS 1.0", "TLS_BOUNDED", []string{`"min_tls_version": "TLS_1_2"`, `"min_tls_version": "TLS_1_0"`}, "older than TLS 1.2"},
	{"no version", "TLS_BOUNDED", []string{`, "min_tls_version": "TLS_1_2"`, ""}, "older than TLS 1.2"},
	{"no SSL policy", "TLS_BOUNDED", []string{`{"ssl_policy": true}`, `{}`}, "has no SSL policy"},
	{"no security policy", "CLOUD_ARMOR", []string{`{"security_policy": true}`, `{}`}, "google_compute_backend_service.pages has no security policy"},
	{"no rule against SQL injection", "WAF_RULES", []string{"sqli-v33", "lfi-v33"}, "denies no sqli- attack"},
	{"a rule against cross-site scripting in preview", "WAF_RULES", []string{`"priority": 1001, "preview": false`,
		`"priority": 1001, "preview": true`}, "denies no xss- attack"},
	{"a rule that lets attacks through", "WAF_RULES", []string{`"action": "deny(403)", "priority": 1000`,
		`"action": "allow", "priority": 1000`}, "denies no sqli- attack"},
	{"a rule that denies all but attacks", "WAF_RULES", []string{"&& evaluatePreconfiguredWaf('xss", "&& ! evaluatePreconfiguredWaf('xss"}, "no xss- attack"},
	{"no limit of the rate", "RATE_LIMITED", []string{`"action": "throttle"`, `"action": "allow"`}, "does not limit"},
	{"a limit in preview", "RATE_LIMITED", []string{`"preview": null`, `"preview": true`}, "does not limit"},
	{"IAP off", "IDENTITY_AWARE_PROXY", []string{`"iap": [{"enabled": true}]`, `"iap": [{"enabled": false}]`}, "no backend"},
	{"no IAP", "IDENTITY_AWARE_PROXY", []string{`"iap": [{"enabled": true}]`, `"iap": []`}, "no backend"},
	{"Google's APIs by the Internet", "PRIVATE_GOOGLE_ACCESS",
		[]string{`"private_ip_google_access": true`, `"private_ip_google_access": false`}, "by the Internet"},
	{"a connector of any size", "CONNECTOR_SIZED", []string{`, "max_instances": 4`, ""}, "leaves max_instances"},
	{"every consumer", "PRIVATE_SERVICE_CONNECT", []string{"ACCEPT_MANUAL", "ACCEPT_AUTOMATIC"}, "accepts every consumer"},
	{"a public address", "DATABASE_PRIVATE", []string{`"ipv4_enabled": false`, `"ipv4_enabled": true`}, "public address"},
	{"an address by default", "DATABASE_PRIVATE", []string{`"ipv4_enabled": false, `, ``}, "public address"},
	{"no private address", "DATABASE_PRIVATE", []string{`{"private_network": true}`, `{}`}, "no private address"},
	{"a database without TLS", "DATABASE_ENCRYPTED", []string{`"ENCRYPTED_ONLY"`, `"ALLOW_UNENCRYPTED_AND_ENCRYPTED"`}, "without TLS"},
	{"a database that leaves TLS to its clients", "DATABASE_ENCRYPTED", []string{`, "ssl_mode": "ENCRYPTED_ONLY"`, ""}, "without TLS"},
	{"an editor", "NO_BASIC_ROLES", []string{"roles/cloudsql.client", "roles/editor"}, "grants roles/editor"},
	{"everybody", "NO_BASIC_ROLES", []string{"serviceAccount:api@acme.iam.gserviceaccount.com", "allAuthenticatedUsers"}, "grants everybody"},
	{"a key", "KEYLESS", []string{`"resource_changes": [`, `"resource_changes": [{"address": ` +
		`"google_service_account_key.ci", "mode": "managed", "type": "google_service_account_key", ` +
		`"change": {"actions": ["create"], "after": {}, "after_unknown": {}}},`}, "a key to download"},
	{"an issuer's everybody", "KEYLESS", []string{"\"attribute_condition\": \"assertion.repository_owner == 'acme'\"",
		`"attribute_condition": null`}, "lets everybody"},
	{"a perimeter around nothing", "SERVICE_PERIMETER", []string{`"resources": ["projects/1"]`, `"resources": []`}, "restricts nothing"},
	{"ingress of all", "ORGANIZATION_POLICIES", []string{`["internal"]`, `["internal", "all"]`}, "allows everything"},
	{"all, without a condition", "ORGANIZATION_POLICIES", []string{`"allow_all": null`, `"allow_all": "TRUE"`}, "allows everything"},
	{"one of three", "ORGANIZATION_POLICIES", []string{"policies/run.allowedVPCEgress", "policies/compute.other"}, "run.allowedVPCEgress is not set"},
	{"no attestation", "ADMISSION_POLICY", []string{"REQUIRE_ATTESTATION", "ALWAYS_ALLOW"}, "without an attestation"},
	{"attestation by nobody", "ADMISSION_POLICY", []string{`["projects/acme/attestors/gate"]`, `[]`}, "without an attestation"},
	{"a laxer cluster", "ADMISSION_POLICY", []string{`"cluster_admission_rules": []`,
		`"cluster_admission_rules": [{"evaluation_mode": "ALWAYS_ALLOW"}]`}, "without an attestation"},
	{"a whole registry", "ADMISSION_POLICY", []string{"gcr.io/cloud-sql-connectors/cloud-sql-proxy@*", "gcr.io/**"}, "admits all of"},
	{"no scans", "IMAGES_SCANNED", []string{"INHERITED", "DISABLED"}, "is not scanned"},
}

func planned(t *testing.T, p posture.Profile, edits ...string) attestor.PostureReport {
	t.Helper()
	return mustJudge(t, p, nil, posture.Input{Definitions: []posture.Source{
		{Name: "plan.json", Text: []byte(replace(t, sample(t, "surroundings.json"), edits...))}}})
}

// TestSurroundings: what stands around services in a plan is judged, each rule in both states.
func TestSurroundings(t *testing.T) {
	clean := planned(t, builtin(t, "strict"))
	plans := len(planRules())
	if clean.Verdict != attestor.Pass || clean.Services != 0 || len(clean.Findings) != plans {
		t.Errorf("%s, %d services, %d findings", clean.Verdict, clean.Services, len(clean.Findings))
	}
	tested := map[string]bool{}
	for _, tt := range brokenPlan {
		tested[tt.rule] = true
		t.Run(tt.name, func(t *testing.T) {
			r := planned(t, builtin(t, "strict"), tt.edits...)
			for _, f := range r.Findings {
				if f.Rule != tt.rule {
					if f.Status != attestor.StatusPass && f.Status != attestor.StatusSkipped {
						t.Errorf("%s is %s too: %s", f.Rule, f.Status, f.Message)
					}
					continue
				}
				if f.Status != attestor.StatusDeny || !strings.Contains(f.Message, tt.found) || !strings.Contains(f.Fix, "in Terraform") || f.Kind != "plan" {
					t.Errorf("%s %s: %s, fix %s", f.Kind, f.Status, f.Message, f.Fix)
				}
			}
			if r.Verdict != attestor.Deny {
				t.Errorf("verdict %s", r.Verdict)
			}
		})
	}
	for _, r := range posture.Rules() {
		if r.Plan && !tested[r.ID] {
			t.Errorf("no case breaks %s", r.ID)
		}
	}
}

// TestSurroundingsInDryRun: the first step of a rollout is told, and refuses nothing.
func TestSurroundingsInDryRun(t *testing.T) {
	r := planned(t, builtin(t, "strict"), "ENFORCED_BLOCK_AND_AUDIT_LOG", "DRYRUN_AUDIT_LOG_ONLY", `"status": [`, `"spec": [`)
	for _, rule := range []string{"ADMISSION_POLICY", "SERVICE_PERIMETER"} {
		if f := finding(t, r, rule); f.Status != attestor.StatusWarn || !strings.Contains(f.Message, "only logs") {
			t.Errorf("%s %s: %s", rule, f.Status, f.Message)
		}
	}
	if r.Verdict != attestor.Pass {
		t.Errorf("verdict %s", r.Verdict)
	}
}

// surrounded adds the plan of what stands around services to the input.
func surrounded(t *testing.T, in posture.Input) posture.Input {
	in.Definitions = append(in.Definitions, posture.Source{Name: "surroundings.json", Text: []byte(sample(t, "surroundings.json"))})
	return in
}

// TestSurroundingsElsewhere: a plan seldom has everything, and what it lacks is
// no pass: where evidence must be there, it is missing unless another plan has it.
func TestSurroundingsElsewhere(t *testing.T) {
	without := replace(t, sample(t, "surroundings.json"), "google_vpc_access_connector", "google_storage_bucket")
	const header = "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: ours}\nspec: "
	for _, tt := range []struct {
		name    string
		profile posture.Profile
		plans   []string
		want    attestor.Status
		fix     string
		verdict attestor.Outcome
	}{
		{"baseline does not ask", builtin(t, "baseline"), []string{without}, attestor.StatusSkipped, "", attestor.Pass},
		{"hipaa", builtin(t, "hipaa"), []string{without}, attestor.StatusSkipped, "", attestor.Pass},
		{"strict", builtin(t, "strict"), []string{without}, attestor.StatusError, "add google_vpc_access_connector to the plan", attestor.Undecided},
		{"strict, another plan makes it", builtin(t, "strict"), []string{without, sample(t, "surroundings.json")}, attestor.StatusSkipped, "", attestor.Pass},
		{"strict, another plan does not either", builtin(t, "strict"), []string{without, without},
			attestor.StatusError, "rules: {CONNECTOR_SIZED: off}", attestor.Undecided},
		{"strict, said to be none", custom(t, header+"{extends: strict, rules: {CONNECTOR_SIZED: off}}"),
			[]string{without}, attestor.StatusSkipped, "", attestor.Pass},
		{"strict, missing evidence is skipped", custom(t, header+"{extends: strict, missingEvidence: skip}"),
			[]string{without}, attestor.StatusSkipped, "", attestor.Pass},
		{"hipaa, missing evidence is an error",
			custom(t, header+"{extends: hipaa, missingEvidence: error, rules: {CONNECTOR_SIZED: deny}}"),
			[]string{without}, attestor.StatusError, "pass the plan that has it as well", attestor.Undecided},
		{"hipaa, missing evidence of what warns", custom(t, header+"{extends: hipaa, missingEvidence: error}"),
			[]string{without}, attestor.StatusSkipped, "pass the plan that has it as well", attestor.Pass},
		{"an exception excuses no missing evidence", custom(t, header+"{extends: strict, "+
			"exceptions: [{rule: CONNECTOR_SIZED, services: ['*'], owner: o, reason: r, expires: 2027-01-31}]}"),
			[]string{without}, attestor.StatusError, "add google_vpc_access_connector", attestor.Undecided},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in posture.Input
			for _, p := range tt.plans {
				in.Definitions = append(in.Definitions, posture.Source{Name: "plan.json", Text: []byte(p)})
			}
			r := mustJudge(t, tt.profile, nil, in)
			if f := finding(t, r, "CONNECTOR_SIZED"); f.Status != tt.want || !strings.Contains(f.Fix, tt.fix) ||
				tt.fix == "" && f.Fix != "" || r.Verdict != tt.verdict {
				t.Errorf("%s: %s, fix %q, verdict %s", f.Status, f.Message, f.Fix, r.Verdict)
			}
		})
	}
}

// TestPlanOfServicesAlone: a plan that makes nothing around its services is
// told of where evidence must be there, and nowhere else; other definitions
// are never asked for a plan.
func TestPlanOfServicesAlone(t *testing.T) {
	count := func(r attestor.PostureReport) (n int) {
		for _, f := range r.Findings {
			if f.Kind == "plan" {
				n++
			}
		}
		return n
	}
	plan := sample(t, "plan.json")
	for name, want := range map[string]int{"baseline": 0, "hipaa": 0, "strict": len(planRules()) - 1} { // PRIVATE_SERVICE_CONNECT is asked for nowhere
		if got := count(mustJudge(t, builtin(t, name), &attested{answer: true}, whole(t, plan))); got != want {
			t.Errorf("%s: %d findings about the plan, want %d", name, got, want)
		}
	}
	strict := mustJudge(t, builtin(t, "strict"), &attested{answer: true}, whole(t, plan))
	for _, f := range strict.Findings {
		if f.Kind == "plan" && (f.Status != attestor.StatusError || f.Fix == "") {
			t.Errorf("%s is %s, fix %q", f.Rule, f.Status, f.Fix)
		}
	}
	if strict.Verdict != attestor.Undecided {
		t.Errorf("verdict %s", strict.Verdict)
	}
	if got := count(mustJudge(t, builtin(t, "strict"), &attested{answer: true}, whole(t, sample(t, "hardened.yaml")))); got != 0 {
		t.Errorf("a service in YAML is asked for a plan: %d findings", got)
	}
	_, err := judge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{
		{Name: "plan.json", Text: []byte(`{"format_version": "1.2", "resource_changes": []}`)}}})
	if !isInvalid(err) {
		t.Errorf("a plan of nothing: %v", err)
	}
}

func TestSurroundingsExcepted(t *testing.T) {
	p := custom(t, "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: ours}\nspec:\n"+
		"  extends: strict\n  exceptions:\n    - {rule: DATABASE_PRIVATE, services: [plan.json], "+
		"subject: google_sql_database_instance.db, owner: a@acme.example, reason: r, expires: 2027-01-31}\n")
	r := planned(t, p, `"ipv4_enabled": false`, `"ipv4_enabled": true`)
	if f := finding(t, r, "DATABASE_PRIVATE"); f.Status != attestor.StatusPass || len(f.Exceptions) != 1 {
		t.Errorf("%s: %s", f.Status, f.Message)
	}
}

// TestPlanWithUnknownArguments: what a real plan does not know yet of one list
// is missing for the rules that look at it, and for no other.
func TestPlanWithUnknownArguments(t *testing.T) {
	plan := replace(t, sample(t, "plan.json"), `"template": [{"containers": [{"env": [{"value_source": []}]}]}]`,
		`"scaling": true, "template": [{"containers": [{"args": true, "ports": true, "build_info": true, `+
			`"env": [{"value_source": []}]}]}]`)
	r := mustJudge(t, builtin(t, "strict"), &attested{answer: true}, surrounded(t, whole(t, plan)))
	for _, f := range r.Findings {
		want := attestor.StatusPass
		if strings.HasPrefix(f.Rule, "SECRET") {
			want = attestor.StatusError
		}
		if f.Status != want && !slices.Contains(beside, f.Message) {
			t.Errorf("%s %s: %s", f.Rule, f.Status, f.Message)
		}
	}
}

// TestPlanLevels keeps the second table of docs/posture.md equal to the profiles.
func TestPlanLevels(t *testing.T) {
	b, err := os.ReadFile("../docs/posture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| [^|]* \\| (deny|warn|off) \\| (deny|warn|off) \\| "+
		"(deny|warn|off) \\|$").FindAllStringSubmatch(string(b), -1)
	rows = slices.DeleteFunc(rows, func(row []string) bool {
		return slices.ContainsFunc(posture.Rules(), func(r posture.RuleInfo) bool { return r.Build && r.ID == row[1] })
	})
	if n := len(planRules()); len(rows) != n {
		t.Fatalf("the table has %d rows, there are %d rules", len(rows), n)
	}
	for column, profile := range posture.Profiles() {
		for i, row := range rows {
			if id := posture.Rules()[len(serviceRules())+i].ID; id != row[1] {
				t.Errorf("row %d is %s, want %s", i, row[1], id)
			}
			for _, tt := range brokenPlan {
				if tt.rule != row[1] {
					continue
				}
				want := map[string]attestor.Status{"deny": "deny", "warn": "warn", "off": "skipped"}[row[2+column]]
				if f := finding(t, planned(t, builtin(t, profile), tt.edits...), row[1]); f.Status != want {
					t.Errorf("%s: %s is %s, documented as %s", profile, row[1], f.Status, row[2+column])
				}
			}
		}
	}
}
