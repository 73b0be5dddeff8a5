package posture_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// resource is one resource of a plan, created with these values.
func resource(kind, name, after string) string {
	return resourceUnknown(kind, name, after, "{}")
}

func resourceUnknown(kind, name, after, unknown string) string {
	return fmt.Sprintf(`{"address": "%s.%s", "mode": "managed", "type": %q, "change": {"actions": ["create"], "after": %s, "after_unknown": %s}}`,
		kind, name, kind, after, unknown)
}

func plan(resources ...string) string {
	return `{"format_version": "1.2", "resource_changes": [` + strings.Join(resources, ", ") + `]}`
}

// worst is the first refusing status of a rule's findings, or else the last status; "" without findings.
func worst(r attestor.PostureReport, rule string) attestor.Status {
	var status attestor.Status
	for _, f := range r.Findings {
		if f.Rule == rule {
			if status = f.Status; status.Refuses() {
				return status
			}
		}
	}
	return status
}

func hipaa(t *testing.T, text string) attestor.PostureReport {
	t.Helper()
	return mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(text)}})
}

// singles are single addresses, and wides ranges of 2^19 addresses, as an array has them.
func singles(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"10.0.%d.%d/32"`, i/256, i%256))
	}
	return strings.Join(out, ", ")
}

func wides(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`"%d.%d.0.0/13"`, i/32+16, i%32*8))
	}
	return strings.Join(out, ", ")
}

func armorRule(priority, action, condition string) string {
	match := `[{"versioned_expr": "SRC_IPS_V1", "config": [{"src_ip_ranges": [` + condition + `]}]}]`
	if !strings.HasPrefix(condition, `"`) {
		match = fmt.Sprintf(`[{"expr": [{"expression": %q}]}]`, condition)
	}
	limit := "[]"
	if action == "throttle" || action == "rate_based_ban" {
		limit = `[{"exceed_action": "deny(429)"}]`
	}
	return fmt.Sprintf(`{"priority": %s, "action": %q, "match": %s, "rate_limit_options": %s}`, priority, action, match, limit)
}

// TestArmorRulesInTheirOrder: Cloud Armor evaluates rules by priority, the first match decides, and a rule that cannot match
// guards nothing.
func TestArmorRulesInTheirOrder(t *testing.T) {
	const sqli, xss = "evaluatePreconfiguredWaf('sqli-v33-stable')", "evaluatePreconfiguredWaf('xss-v33-stable')"
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	guards := []string{armorRule("10", "deny(403)", sqli), armorRule("11", "deny(403)", xss), armorRule("20", "throttle", `"*"`)}
	with := func(rules ...string) []string { return append(rules, guards...) }
	scoped := func(to string) []string {
		return []string{armorRule("10", "deny(403)", to+" && "+sqli), guards[1], guards[2]}
	}
	for _, tt := range []struct {
		name      string
		rules     []string
		waf, rate attestor.Status
	}{
		{"in order", guards, pass, pass},
		{"listed in reverse", []string{guards[2], guards[1], guards[0]}, pass, pass},
		{"everybody allowed first", with(armorRule("5", "allow", `"*"`)), deny, deny},
		{"everybody allowed by an expression", with(armorRule("5", "allow", "true")), deny, deny},
		{"everybody allowed by 1 == 1", with(armorRule("5", "allow", "1 == 1 || false")), deny, deny},
		{"everybody allowed in two halves", with(armorRule("5", "allow", `"0.0.0.0/1", "128.0.0.0/1"`)), deny, deny},
		{"everybody redirected first", with(armorRule("5", "redirect", `"0.0.0.0/0"`)), deny, deny},
		{"everybody allowed, priority not known", with(armorRule("null", "allow", `"*"`)), deny, deny},
		{"everybody allowed last", with(armorRule("2147483647", "allow", `"*"`)), pass, pass},
		{"some allowed first", with(armorRule("5", "allow", `"192.0.2.0/24"`)), pass, pass},
		{"nobody allowed first", with(armorRule("5", "allow", "false")), pass, pass},
		{"everybody denied first", with(armorRule("5", "deny(403)", `"*"`)), pass, pass},
		{"the limit first", with(armorRule("5", "throttle", `"*"`)), deny, pass},
		{"a limit of some first", with(armorRule("5", "throttle", `"192.0.2.0/24"`)), pass, pass},
		{"no sensitivity", []string{armorRule("10", "deny(403)",
			"evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': 0})"), guards[1], guards[2]}, deny, pass},
		{"no sensitivity, rules opted in",
			[]string{armorRule("10", "deny(403)", "evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': "+
				"0, 'opt_in_rule_ids': ['owasp-crs-v030301-id942251-sqli']})"), guards[1], guards[2]}, pass, pass},
		{"beside false", []string{armorRule("10", "deny(403)", "false && "+sqli), guards[1], guards[2]}, deny, pass},
		{"compared with false", []string{armorRule("10", "deny(403)", sqli+" == false"), guards[1], guards[2]}, deny, pass},
		{"not compared with true", []string{armorRule("10", "deny(403)", sqli+" != true"), guards[1], guards[2]}, deny, pass},
		{"negated twice", []string{armorRule("10", "deny(403)", "!(!("+sqli+"))"), guards[1], guards[2]}, pass, pass},
		{"negated over brackets", []string{armorRule("10", "deny(403)", "!("+sqli+" || "+xss+")"), guards[2]}, deny, pass},
		{"one rule for both", []string{armorRule("10", "deny(403)", sqli+" || "+xss), guards[2]}, pass, pass},
		{"no CEL", []string{armorRule("10", "deny(403)", sqli+" &&"), guards[1], guards[2]}, deny, pass},
		{"everybody allowed by a range in an expression", with(armorRule("5", "allow",
			"inIpRange(origin.ip, '0.0.0.0/0') || inIpRange(origin.ip, '::/0')")), deny, deny},
		{"everybody with IPv6 allowed", with(armorRule("5", "allow", `"::/0"`)), deny, deny},
		{"everybody allowed in two rules", with(armorRule("5", "allow", `"0.0.0.0/1"`), armorRule("6", "allow", `"128.0.0.0/1"`)), deny, deny},
		{"half of all allowed, behind many single addresses", with(armorRule("5", "allow", singles(600)+`, "128.0.0.0/1"`)), deny, deny},
		{"many single addresses allowed", with(armorRule("5", "allow", singles(600))), pass, pass},
		{"most allowed by too many ranges to try", with(armorRule("5", "allow", wides(2000))), deny, deny},
		{"half of all allowed", with(armorRule("5", "allow", `"128.0.0.0/1"`)), deny, deny},
		{"everybody allowed by a path", with(armorRule("5", "allow", "request.path.startsWith('/')")), deny, deny},
		{"everybody allowed by a pattern", with(armorRule("5", "allow", "request.path.matches('^/.*$')")), deny, deny},
		{"everybody allowed by either", with(armorRule("5", "allow", "has(request.headers['a']) || !has(request.headers['a'])")), deny, deny},
		{"everybody allowed by a question and its opposite", with(armorRule("5", "allow",
			"origin.region_code == 'US'"), armorRule("6", "allow", "origin.region_code != 'US'")), deny, deny},
		{"some paths allowed first", with(armorRule("5", "allow", "request.path.startsWith('/healthz')")), pass, pass},
		{"one country allowed, the others denied by default",
			[]string{armorRule("5", "allow", "origin.region_code == 'US'"), guards[0], guards[1],
				armorRule("2147483647", "deny(403)", `"*"`)}, deny, deny},
		{"other countries denied first", with(armorRule("5", "deny(403)", "origin.region_code != 'US'")), pass, pass},
		{"what is no attack allowed first", []string{armorRule("5", "allow", "!"+sqli), guards[0], guards[1], guards[2]}, deny, deny},
		{"attacks allowed first", []string{armorRule("5", "allow", sqli), guards[0], guards[1], guards[2]}, deny, pass},
		{"a limit of one range alone", []string{guards[0], guards[1], armorRule("20", "throttle", `"192.0.2.0/24"`)}, pass, deny},
		{"a limit on one path", []string{guards[0], guards[1], armorRule("20", "throttle", "request.path.startsWith('/login')")}, pass, pass},
		{"scoped to one host", []string{armorRule("10", "deny(403)", "request.headers['host'] == 'a' && "+sqli), guards[1], guards[2]}, pass, pass},
		{"scoped to two paths at once", scoped("request.path == '/a' && request.path == '/b'"), deny, pass},
		{"scoped to a path and to a beginning that it lacks", scoped("request.path == '/a' && request.path.startsWith('/b')"), deny, pass},
		{"scoped to two beginnings at once", scoped("request.path.startsWith('/a') && request.path.startsWith('/b')"), deny, pass},
		{"scoped to two ends at once", scoped("request.path.endsWith('.php') && request.path.endsWith('.html')"), deny, pass},
		{"scoped to a path and not to its beginning", scoped("request.path.startsWith('/a/b') && !request.path.startsWith('/a')"), deny, pass},
		{"scoped to a path and not to its part", scoped("request.path.startsWith('/a/b') && !request.path.contains('a/')"), deny, pass},
		{"scoped to a path and not to its end", scoped("request.path == '/a.php' && !request.path.endsWith('php')"), deny, pass},
		{"scoped to two countries at once", scoped("origin.region_code == 'US' && 'CA' == origin.region_code"), deny, pass},
		{"scoped to a country that is another", scoped("origin.region_code == 'US' && !(origin.region_code != 'CA')"), deny, pass},
		{"scoped to a beginning within another", scoped("request.path.startsWith('/a') && request.path.startsWith('/a/b')"), pass, pass},
		{"scoped to a beginning and not to a longer one", scoped("request.path.startsWith('/a') && !request.path.startsWith('/a/b')"), pass, pass},
		{"scoped to a beginning and an end", scoped("request.path.startsWith('/a') && request.path.endsWith('/b')"), pass, pass},
		{"scoped to a part and not to another", scoped("request.path.contains('a') && !request.path.contains('ab')"), pass, pass},
		{"scoped to either of two paths", scoped("(request.path == '/a' || request.path == '/b')"), pass, pass},
		{"scoped to a path and a host", scoped("request.path == '/a' && request.headers['host'] == '/b'"), pass, pass},
		{"scoped to two numbers", scoped("int(request.headers['n']) == 1 && int(request.headers['n']) == 2"), pass, pass},
		{"a limit on two paths at once", []string{guards[0], guards[1], armorRule("20", "throttle",
			"request.path == '/a' && request.path == '/b'")}, pass, deny},
		{"everybody allowed but who is in two countries", with(armorRule("5", "allow",
			"origin.region_code != 'US' || origin.region_code != 'CA'")), deny, deny},
		{"an order that is not known", []string{strings.Replace(guards[0], `"priority": 10`, `"priority": null`, 1), guards[1], guards[2]}, deny, pass},
		{"every field excluded",
			[]string{strings.Replace(guards[0], `"match"`, `"preconfigured_waf_config": [{"exclusion": `+
				`[{"target_rule_set": "sqli-v33-stable", "target_rule_ids": [], "request_query_param": `+
				`[{"operator": "EQUALS_ANY", "value": ""}]}]}], "match"`, 1), guards[1], guards[2]}, deny, pass},
		{"one field excluded", []string{strings.Replace(guards[0], `"match"`,
			`"preconfigured_waf_config": [{"exclusion": [{"target_rule_set": "sqli-v33-stable", `+
				`"target_rule_ids": [], "request_query_param": [{"operator": "EQUALS", "value": "q"}]}]}], "match"`,
			1), guards[1], guards[2]}, pass, pass},
		{"a ban that never matches", []string{guards[0], guards[1], armorRule("20", "rate_based_ban", "false")}, pass, deny},
	} {
		for kind, list := range map[string]string{"google_compute_security_policy": "rule", "google_compute_region_security_policy": "rules"} {
			t.Run(tt.name+"/"+list, func(t *testing.T) {
				inline := hipaa(t, plan(resource(kind, "p", `{"name": "p", "`+list+`": [`+strings.Join(tt.rules, ", ")+`]}`)))
				if waf, rate := worst(inline, "WAF_RULES"), worst(inline, "RATE_LIMITED"); waf != tt.waf || rate != tt.rate {
					t.Errorf("WAF_RULES is %s, RATE_LIMITED %s; want %s, %s", waf, rate, tt.waf, tt.rate)
				}

				// The same rules as resources of their own, by name and by a reference that is not known yet.
				for _, ref := range []string{`{"security_policy": "p", `, `{"security_policy": "projects/acme/global/securityPolicies/p", `, `{`} {
					apart := []string{resourceUnknown(kind, "p", `{"name": "p"}`, `{"`+list+`": true}`)}
					for i, rule := range tt.rules {
						apart = append(apart, resourceUnknown(kind+"_rule", fmt.Sprint(i), ref+rule[1:],
							map[bool]string{true: `{"security_policy": true}`, false: "{}"}[ref == "{"]))
					}
					r := hipaa(t, plan(apart...))
					if waf, rate := worst(r, "WAF_RULES"), worst(r, "RATE_LIMITED"); waf != tt.waf || rate != tt.rate {
						t.Errorf("apart, %s: WAF_RULES is %s, RATE_LIMITED %s; want %s, %s", ref, waf, rate, tt.waf, tt.rate)
					}
				}
			})
		}
	}
	// Of two policies, rules go to the one that they name, and to neither if they name none.
	other := resource("google_compute_security_policy", "other", `{"name": "other"}`)
	named := plan(other, resource("google_compute_security_policy", "p", `{"name": "p", "rule": [`+strings.Join(guards, ", ")+`]}`))
	if got := worst(hipaa(t, named), "WAF_RULES"); got != deny {
		t.Errorf("a policy without rules beside another is %s", got)
	}
}

// TestRegionalTwins: what guards a global load balancer is asked of a regional one.
func TestRegionalTwins(t *testing.T) {
	const pass, deny = attestor.StatusPass, attestor.StatusDeny
	for _, tt := range []struct {
		kind, after, rule string
		want              attestor.Status
	}{
		{"google_compute_region_backend_service", `{"load_balancing_scheme": "EXTERNAL_MANAGED"}`, "CLOUD_ARMOR", deny},
		{"google_compute_region_backend_service", `{"load_balancing_scheme": "EXTERNAL_MANAGED", "security_policy": "p"}`, "CLOUD_ARMOR", pass},
		{"google_compute_region_backend_service", `{"load_balancing_scheme": "INTERNAL_MANAGED"}`, "CLOUD_ARMOR", pass},
		{"google_compute_region_backend_service", `{"load_balancing_scheme": null}`, "CLOUD_ARMOR", pass},
		{"google_compute_region_backend_service", `{"load_balancing_scheme": "EXTERNAL", "protocol": "TCP"}`, "CLOUD_ARMOR", pass},
		{"google_compute_region_backend_service", `{"load_balancing_scheme": "EXTERNAL_NEWER"}`, "CLOUD_ARMOR", deny},
		{"google_compute_backend_service", `{"load_balancing_scheme": null}`, "CLOUD_ARMOR", deny},
		{"google_compute_region_target_https_proxy", `{"ssl_policy": ""}`, "TLS_BOUNDED", deny},
		{"google_compute_region_target_https_proxy", `{"ssl_policy": "p"}`, "TLS_BOUNDED", attestor.StatusSkipped},
		{"google_compute_region_ssl_policy", `{"min_tls_version": "TLS_1_1"}`, "TLS_BOUNDED", deny},
		{"google_compute_region_ssl_policy", `{"min_tls_version": "TLS_1_3"}`, "TLS_BOUNDED", pass},
	} {
		if got := worst(hipaa(t, plan(resource(tt.kind, "x", tt.after))), tt.rule); got != tt.want {
			t.Errorf("%s %s: %s is %s, want %s", tt.kind, tt.after, tt.rule, got, tt.want)
		}
	}
}

// TestExemptionsOfOneRepository: an exemption from attestations is for a repository, not for a project or a host.
func TestExemptionsOfOneRepository(t *testing.T) {
	for pattern, want := range map[string]attestor.Status{
		"europe-docker.pkg.dev/acme/prod/proxy@*": attestor.StatusPass, "europe-docker.pkg.dev/acme/prod/*": attestor.StatusPass,
		"gcr.io/acme/proxy": attestor.StatusPass, "gcr.io/acme/proxy:*": attestor.StatusPass,
		"europe-docker.pkg.dev/acme/*": attestor.StatusDeny, "europe-docker.pkg.dev/acme/prod*": attestor.StatusDeny,
		"eu.gcr.io/acme/**": attestor.StatusDeny, "gcr.io/*/proxy/x": attestor.StatusDeny, "*/acme/prod/x": attestor.StatusDeny,
		"**": attestor.StatusDeny, "": attestor.StatusDeny,
		// The project example.com:acme.
		"gcr.io/example.com/acme/*": attestor.StatusDeny, "europe-docker.pkg.dev/example.com/acme/**": attestor.StatusDeny,
		"gcr.io/example.com/acme": attestor.StatusDeny, "gcr.io/example.com/acme/proxy:*": attestor.StatusPass,
		"europe-docker.pkg.dev/example.com/acme/prod/*": attestor.StatusPass, "quay.io/example.com/team/*": attestor.StatusPass,
	} {
		p := plan(resource("google_binary_authorization_policy", "p", fmt.Sprintf(`{"admission_whitelist_patterns": [{"name_pattern": %q}],
			"default_admission_rule": [{"evaluation_mode": "REQUIRE_ATTESTATION", "require_attestations_by": ["a"]}]}`, pattern)))
		if got := worst(hipaa(t, p), "ADMISSION_POLICY"); got != want {
			t.Errorf("%q: %s, want %s", pattern, got, want)
		}
	}
	dry := plan(resource("google_binary_authorization_policy", "p", `{"cluster_admission_rules": [{"evaluation_mode": "ALWAYS_DENY",
		"enforcement_mode": "DRYRUN_AUDIT_LOG_ONLY"}], "default_admission_rule": [{"evaluation_mode": "ALWAYS_DENY"}]}`))
	if got := worst(hipaa(t, dry), "ADMISSION_POLICY"); got != attestor.StatusWarn {
		t.Errorf("a cluster's rule in dry run: %s", got)
	}
}

// TestGrantsInEveryForm: member, binding and policy, on projects, folders and organisations.
func TestGrantsInEveryForm(t *testing.T) {
	for _, level := range []string{"project", "folder", "organization"} {
		for _, tt := range []struct {
			role, member string
			want         attestor.Status
		}{
			{"roles/run.viewer", "group:ops@acme.example", attestor.StatusPass},
			{"roles/editor", "group:ops@acme.example", attestor.StatusDeny},
			{"roles/run.viewer", "allAuthenticatedUsers", attestor.StatusDeny},
		} {
			data := fmt.Sprintf(`{"bindings": [{"role": %q, "members": [%q]}]}`, tt.role, tt.member)
			for form, after := range map[string]string{
				"member":  fmt.Sprintf(`{"role": %q, "member": %q}`, tt.role, tt.member),
				"binding": fmt.Sprintf(`{"role": %q, "members": [%q]}`, tt.role, tt.member),
				"policy":  fmt.Sprintf(`{"policy_data": %q}`, data),
			} {
				if got := worst(hipaa(t, plan(resource("google_"+level+"_iam_"+form, "x", after))), "NO_BASIC_ROLES"); got != tt.want {
					t.Errorf("%s %s, %s to %s: %s, want %s", level, form, tt.role, tt.member, got, tt.want)
				}
			}
		}
	}
	unknown := plan(resourceUnknown("google_project_iam_policy", "x", "{}", `{"policy_data": true}`))
	if got := worst(hipaa(t, unknown), "NO_BASIC_ROLES"); got == attestor.StatusPass {
		t.Error("a policy that is known only after apply passes")
	}
	// A folder's grant reaches the services of its projects.
	r := hipaa(t, plan(resource("google_cloud_run_v2_service", "a", `{"name": "a", "project": "acme", "location": "us-east1"}`),
		resource("google_folder_iam_member", "x", `{"folder": "folders/1", "role": "roles/run.invoker", "member": "allUsers"}`)))
	if got := worst(r, "INVOKER_AUTH"); got != attestor.StatusDeny {
		t.Errorf("everybody invokes by a folder's grant: %s", got)
	}
}

// TestPublicGrantOnAnothersWorkload: a grant is a finding, whoever defines the workload.
func TestPublicGrantOnAnothersWorkload(t *testing.T) {
	const service = `{"name": "a", "project": "acme", "location": "us-east1"}`
	public := func(kind, after string) string { return resource(kind, "x", after) }
	for _, tt := range []struct{ name, grant, subject, kind string }{
		{"member", public("google_cloud_run_v2_service_iam_member", `{"name": "b", "project": "acme", "location": `+
			`"us-east1", "role": "roles/run.invoker", "member": "allUsers"}`), "acme/us-east1/b", "service"},
		{"binding", public("google_cloud_run_service_iam_binding", `{"service": "b", "location": "us-east1", `+
			`"role": "roles/run.invoker", "members": ["user:a@acme.example", "allAuthenticatedUsers"]}`),
			"-/us-east1/b", "service"},
		{"policy", public("google_cloud_run_v2_job_iam_policy", `{"name": `+
			`"projects/acme/locations/us-east1/jobs/b", "location": "us-east1", "policy_data": "{\"bindings\": `+
			`[{\"role\": \"roles/run.invoker\", \"members\": [\"allUsers\"]}]}"}`), "acme/us-east1/b", "job"},
		{"worker pool", public("google_cloud_run_v2_worker_pool_iam_member", `{"name": "b", "project": "acme", `+
			`"location": "us-east1", "role": "roles/run.developer", "member": "allUsers"}`),
			"acme/us-east1/b", "workerpool"},
	} {
		for _, beside := range []string{"", resource("google_cloud_run_v2_service", "a", service) + ", "} {
			r := hipaa(t, plan(beside+tt.grant))
			denied := 0
			for _, f := range r.Findings {
				if f.Rule == "INVOKER_AUTH" && f.Status == attestor.StatusDeny && f.Service == tt.subject && f.Kind == tt.kind {
					denied++
				} else if f.Rule == "INVOKER_AUTH" && f.Status.Refuses() {
					t.Errorf("%s: %s is %s too", tt.name, f.Service, f.Status)
				}
			}
			if want := map[bool]int{true: 0, false: 1}[beside == ""]; denied != 1 || r.Services != want || r.Verdict != attestor.Deny {
				t.Errorf("%s: %d findings, %d services, %s", tt.name, denied, r.Services, r.Verdict)
			}
		}
	}
	named := public("google_cloud_run_v2_service_iam_member",
		`{"name": "b", "location": "us-east1", "role": "roles/run.invoker", "member": "user:a@acme.example"}`)
	if _, err := judge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(plan(named))}}); !isInvalid(err) {
		t.Errorf("a plan with nothing to judge: %v", err)
	}
}

// TestTruncatedLists: a part of an answer is no answer.
func TestTruncatedLists(t *testing.T) {
	const one = `{"name": "projects/p/locations/us-east1/services/a", "template": {}}`
	for name, tt := range map[string]struct{ text, want string }{
		"v2 jobs":              {`{"jobs": [{"name": "projects/p/locations/l/jobs/a", "template": {}}], "nextPageToken": "x"}`, "next page"},
		"v1":                   {"apiVersion: serving.knative.dev/v1\nkind: ServiceList\nmetadata: {continue: abc}\nitems: []\n", "next page"},
		"a location is silent": {`{"services": [` + one + `], "unreachable": ["europe-west1"]}`, "unreachable"},
		"whole":                {`{"services": [` + one + `], "nextPageToken": "", "unreachable": []}`, ""},
	} {
		_, err := judge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{source(tt.text)}})
		if tt.want == "" && err != nil || tt.want != "" && (!isInvalid(err) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// TestPerimeterAroundWhatTheGateProtects: registry, keys and attestations, in one perimeter or in several.
func TestPerimeterAroundWhatTheGateProtects(t *testing.T) {
	perimeter := func(name, services string) string {
		return resource("google_access_context_manager_service_perimeter", name,
			`{"status": [{"resources": ["projects/1"], "restricted_services": [`+services+`]}]}`)
	}
	const registry, keys, notes = `"artifactregistry.googleapis.com"`, `"cloudkms.googleapis.com"`, `"containeranalysis.googleapis.com"`
	for name, tt := range map[string]struct {
		plan string
		want attestor.Status
	}{
		"all":              {plan(perimeter("a", registry+","+keys+","+notes)), attestor.StatusPass},
		"in two":           {plan(perimeter("a", registry+","+keys), perimeter("b", notes)), attestor.StatusPass},
		"without the keys": {plan(perimeter("a", registry+","+notes)), attestor.StatusDeny},
		"only BigQuery":    {plan(perimeter("a", `"bigquery.googleapis.com"`)), attestor.StatusDeny},
	} {
		if got := worst(hipaa(t, tt.plan), "SERVICE_PERIMETER"); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestTheContainerWithAPortReceivesRequests: Cloud Run allows one container with a port, so that a plan which leaves the
// ports of a sidecar open says nothing about which container is asked for a probe; one that leaves all open does.
func TestTheContainerWithAPortReceivesRequests(t *testing.T) {
	t.Parallel()
	const probed, plain = `{"name": "api", "image": "i", "startup_probe": [{"http_get": [{"path": "/health"}]}]%s}`, `{"name": "proxy", "image": "j"%s}`
	const port = `, "ports": [{"container_port": 8080}]`
	for name, tt := range map[string]struct {
		containers, unknown string
		want                attestor.Status
	}{
		"a sidecar's open":                    {fmt.Sprintf(probed+", "+plain, port, ""), `{}, {"ports": true}`, attestor.StatusPass},
		"first the sidecar":                   {fmt.Sprintf(plain+", "+probed, "", port), `{"ports": true}, {}`, attestor.StatusPass},
		"the sidecar's known, no probe there": {fmt.Sprintf(probed+", "+plain, "", port), `{"ports": true}, {}`, attestor.StatusWarn},
		"all open":                            {fmt.Sprintf(probed+", "+plain, "", ""), `{"ports": true}, {"ports": true}`, attestor.StatusSkipped},
		"one open, none known":                {fmt.Sprintf(probed+", "+plain, "", ""), `{}, {"ports": true}`, attestor.StatusSkipped},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := worst(hipaa(t, plan(resourceUnknown("google_cloud_run_v2_service", "api",
				`{"name": "api", "location": "us-east1", "template": [{"containers": [`+tt.containers+`]}]}`,
				`{"template": [{"containers": [`+tt.unknown+`]}]}`))), "PROBES")
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
