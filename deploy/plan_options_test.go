package deploy_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestSeveralRegions: in each region the service runs with that region's subnet, key and secrets, behind the one load
// balancer, which may call it; all use one database, with a replica that can take over.
func TestSeveralRegions(t *testing.T) {
	dirs := readDirs(t)
	const other = `"other_regions": {"us-east4": "10.20.0.0/24", "us-west1": "10.30.0.0/24"}, "replica_region": "us-east4"`
	for _, root := range []string{oneProject, splitProjects} {
		p, alone := planExample(t, dirs, root, `{`+other+`}`), planExample(t, dirs, root, `{}`)
		regions := map[string]*instance{}
		for _, s := range p.of("google_cloud_run_v2_service") {
			if s.text("name") == "gate" {
				regions[s.text("location")] = s
			}
		}
		if len(regions) != 3 {
			t.Fatalf("%s: gate runs in %d regions", root, len(regions))
		}
		for region, s := range regions {
			subnet := p.made(s.text("template.0.vpc_access.0.network_interfaces.0.subnetwork"))
			if subnet == nil || subnet.text("region") != region || subnet.text("private_ip_google_access") != "true" {
				t.Errorf("%s: %s: the service is not in a subnet of its region", root, region)
			}
			if key := s.text("template.0.encryption_key"); !strings.Contains(key, "/locations/"+region+"/") {
				t.Errorf("%s: %s: the key is %s", root, region, key)
			}
			for _, v := range list(get(s.value, "template.0.volumes")) {
				name := shown(get(v, "secret.0.secret"))
				if i := slices.IndexFunc(p.of("google_secret_manager_secret"), func(in *instance) bool { return in.text("secret_id") == name }); i >= 0 {
					if at := p.of("google_secret_manager_secret")[i].text("replication.0.user_managed.0.replicas.0.location"); at != region {
						t.Errorf("%s: %s reads secret %s of %s", root, region, name, at)
					}
				}
			}
			if got := s.text("template.0.containers.1.args.7"); !strings.HasSuffix(got, ":us-east1:gate") {
				t.Errorf("%s: %s uses the database %s", root, region, got)
			}
			invokers := 0
			for _, m := range p.of("google_cloud_run_v2_service_iam_member") {
				if m.text("location") == region && m.text("name") == "gate" && serviceAgent.MatchString(m.text("member")) {
					invokers++
				}
			}
			if invokers != 1 {
				t.Errorf("%s: %s: Identity-Aware Proxy may not call", root, region)
			}
		}
		for _, name := range []string{"api", "pages"} {
			// A region that answers as if it were not there gets no requests; errors of the gate itself (500) are no such answers.
			service := p.instances["module.edge.google_compute_backend_service."+name]
			if service.text("outlier_detection.0.enforcing_consecutive_gateway_failure") != "100" ||
				service.text("outlier_detection.0.max_ejection_percent") != "50" ||
				service.text("outlier_detection.0.enforcing_consecutive_errors") != "0" {
				t.Errorf("%s: %s goes on asking a region that fails: %s", root, name, service.text("outlier_detection"))
			}
			if len(list(get(alone.instances[service.addr].value, "outlier_detection"))) != 0 {
				t.Errorf("%s: %s: the only region is left out", root, name)
			}
			behind := map[string]bool{}
			for _, b := range list(get(service.value, "backend")) {
				behind[p.made(shown(get(b, "group"))).text("region")] = true
			}
			if len(behind) != 3 {
				t.Errorf("%s: behind %s are %v", root, name, behind)
			}
		}

		// The region of the database fails: the replica is promoted, and every service uses it.
		failed := planExample(t, dirs, root, `{`+other+`, "database_promoted": true}`)
		replica := failed.instances["module.database.google_sql_database_instance.replica[0]"]
		before := p.instances["module.database.google_sql_database_instance.replica[0]"]
		if before.text("master_instance_name") != "gate" || before.text("instance_type") != "READ_REPLICA_INSTANCE" ||
			before.text("settings.0.backup_configuration.0.enabled") != "" {
			t.Errorf("%s: the second database does not follow the first", root)
		}
		if replica.text("master_instance_name") != "" || replica.text("instance_type") != "CLOUD_SQL_INSTANCE" ||
			replica.text("settings.0.backup_configuration.0.enabled") != "true" {
			t.Errorf("%s: the promoted replica depends on the first database, or is not backed up", root)
		}
		if replica.text("settings.0.ip_configuration.0.ipv4_enabled") != "false" ||
			replica.text("deletion_protection") != "true" || replica.text("region") != "us-east4" {
			t.Errorf("%s: the replica is open, or lost by a slip", root)
		}
		for _, s := range failed.of("google_cloud_run_v2_service") {
			if got := s.text("template.0.containers.1.args.7"); !strings.HasSuffix(got, ":us-east4:gate-replica") {
				t.Errorf("%s: %s still uses %s", root, s.addr, got)
			}
		}
	}
	if refused := planExample(t, dirs, oneProject, `{"database_promoted": true}`).refused; len(refused) != 1 {
		t.Errorf("a replica that is not there is promoted: %q", refused)
	}
}

// made is the resource that a made-up value is from.
func (p *plan) made(value string) *instance {
	from, ok := strings.CutPrefix(value, "<")
	for addr, in := range p.instances {
		if ok && strings.HasPrefix(from, addr+".") {
			return in
		}
	}
	return nil
}

var tagCall = regexp.MustCompile(`resource\.matchTag(Id)?\('([^']+)', '([^']+)'\)`)

// allows is whether an organisation policy allows a value for a resource with these tags, KEY/VALUE. A rule holds where its
// condition does; a rule without one holds for what no other rule does.
func (in *instance) allows(t *testing.T, value string, tags ...string) bool {
	t.Helper()
	holds := func(condition string) bool {
		text := tagCall.ReplaceAllStringFunc(condition, func(call string) string {
			m := tagCall.FindStringSubmatch(call)
			if slices.Contains(tags, m[2]+"/"+m[3]) {
				return "T"
			}
			return "F"
		})
		for term := range strings.SplitSeq(text, " && ") {
			switch term {
			case "T", "!F":
			case "F", "!T":
				return false
			default:
				t.Fatalf("a condition of another form: %s", condition)
			}
		}
		return true
	}
	matched, allowed := 0, false
	for _, conditional := range []bool{true, false} {
		for _, r := range list(get(in.value, "spec.0.rules")) {
			condition := shown(get(r, "condition.0.expression"))
			if (condition != "") != conditional || conditional && !holds(condition) || !conditional && matched > 0 {
				continue
			}
			matched++
			allowed = shown(get(r, "allow_all")) == "TRUE" || slices.Contains(strings.Fields(shown(get(r, "values.0.allowed_values"))), value)
		}
	}
	if matched > 1 {
		t.Errorf("%s: %d rules hold for %q: which of them counts depends on their order", in.addr, matched, tags)
	}
	return allowed
}

// TestOrganizationPolicies: production must have Binary Authorization, and what is tagged so may not be called directly; by
// default the rules hold for everything, and in both cases the exception is by a tag.
func TestOrganizationPolicies(t *testing.T) {
	dirs := readDirs(t)
	const (
		scope  = tagged
		exempt = "<module.guardrails[0].google_tags_tag_key.exempt.id>/<module.guardrails[0].google_tags_tag_value.exempt.id>"
		rule   = `module.guardrails[0].google_org_policy_policy.run["run.allowed`
	)
	for _, c := range []struct {
		more, policy, value string
		tags                []string
		want                bool
	}{
		{`{}`, "Ingress", "all", nil, false}, {`{}`, "Ingress", "internal", nil, true}, {`{}`, "Ingress", "all", []string{exempt}, true},
		{`{}`, "BinaryAuthorizationPolicies", "default", nil, true}, {`{}`, "BinaryAuthorizationPolicies", "", nil, false},
		{`{}`, "VPCEgress", "", nil, false}, {`{}`, "VPCEgress", "all-traffic", nil, true},

		{scope, "BinaryAuthorizationPolicies", "", []string{"123/environment/production"}, false},
		{scope, "BinaryAuthorizationPolicies", "default", []string{"123/environment/production"}, true},
		{scope, "BinaryAuthorizationPolicies", "", []string{"123/environment/test"}, true},
		{scope, "BinaryAuthorizationPolicies", "", []string{"123/environment/production", exempt}, true},
		{scope, "Ingress", "all", []string{"123/exposure/internal"}, false}, {scope, "Ingress", "internal", []string{"123/exposure/internal"}, true},
		{scope, "Ingress", "internal-and-cloud-load-balancing", []string{"123/exposure/internal"}, true}, {scope, "Ingress", "all", nil, true},
		{scope, "Ingress", "all", []string{"123/environment/production"}, true}, {scope, "Ingress", "all", []string{"123/exposure/internal", exempt}, true},
		{scope, "VPCEgress", "", []string{"123/environment/production"}, false},
	} {
		in := planExample(t, dirs, splitProjects, c.more).instances[rule+c.policy+`"]`]
		if got := in.allows(t, c.value, c.tags...); got != c.want {
			t.Errorf("%s with %s: %q for %q is allowed: %v", c.policy, c.more, c.value, c.tags, got)
		}
	}
	for _, bad := range []string{`{"production": "production", "internal": "123/a/b"}`, `{"production": "123/a/b", "internal": "x/a/b"}`} {
		if refused := planExample(t, dirs, splitProjects, `{"scope": `+bad+`}`).refused; len(refused) == 0 {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestClusterRules: a cluster has the rule that it was given and no laxer one.
func TestClusterRules(t *testing.T) {
	dirs := readDirs(t)
	p := planExample(t, dirs, splitProjects, `{"clusters": {"acme-shop": {
		"us-east1.shop": {"enforce": true}, "us-east1.old": {"evaluation": "ALWAYS_DENY", "enforce": false}}}}`)
	got := map[string]string{}
	for _, r := range list(get(p.instances[`module.admission["acme-shop"].google_binary_authorization_policy.policy`].value, "cluster_admission_rules")) {
		got[shown(get(r, "cluster"))] = shown(get(r, "evaluation_mode")) + " " + shown(get(r, "enforcement_mode")) +
			" " + shown(get(r, "require_attestations_by"))
	}
	if len(got) != 2 || got["us-east1.shop"] != "REQUIRE_ATTESTATION ENFORCED_BLOCK_AND_AUDIT_LOG projects/acme-keys/attestors/gate" ||
		got["us-east1.old"] != "ALWAYS_DENY DRYRUN_AUDIT_LOG_ONLY " {
		t.Errorf("the clusters' rules are %q", got)
	}
	other := p.instances[`module.admission["acme-gate"].google_binary_authorization_policy.policy`]
	if len(list(get(other.value, "cluster_admission_rules"))) != 0 {
		t.Error("another project has the clusters' rules")
	}
	for _, bad := range []string{`{"us-east1.shop": {"evaluation": "ALWAYS_ALLOW", "enforce": true}}`, `{"shop": {"enforce": true}}`} {
		if refused := planExample(t, dirs, oneProject, `{"clusters": `+bad+`}`).refused; len(refused) == 0 {
			t.Errorf("%s is taken", bad)
		}
	}
}

// TestPrivateServiceConnect: run.app is reached through the endpoint where there is one, and by Private Google Access else.
func TestPrivateServiceConnect(t *testing.T) {
	dirs := readDirs(t)
	p := planExample(t, dirs, splitProjects, everyOption)
	endpoint := p.instances["module.network.google_compute_global_forwarding_rule.googleapis[0]"]
	address := p.made(endpoint.text("ip_address"))
	if endpoint.text("target") != "all-apis" || address.text("purpose") != "PRIVATE_SERVICE_CONNECT" || address.text("address") != "10.10.255.1" {
		t.Errorf("the endpoint is %s at %s", endpoint.text("target"), address.text("address"))
	}
	if got := p.instances["module.network.google_dns_record_set.run"].text("rrdatas"); got != "10.10.255.1" {
		t.Errorf("run.app is at %s", got)
	}
	if n := len(planExample(t, dirs, oneProject, `{}`).of("google_compute_global_forwarding_rule")); n != 1 {
		t.Errorf("an endpoint that nobody asked for: %d rules", n)
	}
}

// TestDirectProxy: with readers the proxy on Cloud Run is on, may call, and lets in nobody else; without, it is off.
func TestDirectProxy(t *testing.T) {
	dirs := readDirs(t)
	p := planModule(t, dirs, "service", serviceInputs(`"iap_readers": ["group:a@acme.example"], "project_number": "7"`))
	if s := p.instances["google_cloud_run_v2_service.gate"]; s.text("iap_enabled") != "true" || s.text("invoker_iam_disabled") != "false" {
		t.Error("the proxy is off, or everyone may call")
	}
	if got := p.instances["google_cloud_run_v2_service_iam_member.iap[0]"].text(
		"member"); got != "serviceAccount:service-7@gcp-sa-iap.iam.gserviceaccount.com" {
		t.Errorf("%s may call", got)
	}
	if readers := p.of("google_iap_web_cloud_run_service_iam_member"); len(readers) != 1 || readers[0].text("member") != "group:a@acme.example" {
		t.Errorf("%d readers", len(readers))
	}

	without := planModule(t, dirs, "service", serviceInputs(`"project_number": "7"`))
	if without.instances["google_cloud_run_v2_service.gate"].text("iap_enabled") != "false" || len(without.of("google_cloud_run_v2_service_iam_member")) != 0 {
		t.Error("a proxy that nobody asked for")
	}
	for _, everyone := range []string{"allUsers", "allAuthenticatedUsers"} {
		if refused := planModule(t, dirs, "service", serviceInputs(`"iap_readers": ["`+everyone+`"], "project_number": "7"`)).refused; len(refused) != 1 {
			t.Errorf("%s reads", everyone)
		}
	}
	if refused := planModule(t, dirs, "service", serviceInputs(`"iap_readers": ["group:a@acme.example"]`)).refused; len(refused) != 1 {
		t.Error("the proxy's agent has no number")
	}
}

// TestSettingsOfTheConfiguration: rates and the summaries' keys stand in the configuration that both services read, and the
// gate takes it; callers, policies and the store are the file's alone.
func TestSettingsOfTheConfiguration(t *testing.T) {
	dirs := readDirs(t)
	p := planExample(t, dirs, splitProjects, everyOption)
	for _, service := range []string{"module.gate", "module.gate_events", `module.gate_other["us-east4"]`} {
		text := p.instances[service+".google_secret_manager_secret_version.config"].text("secret_data")
		var c struct {
			Dependencies struct {
				Rates map[string]int `yaml:"rates"`
			} `yaml:"dependencies"`
			VSA struct {
				Verifier string            `yaml:"verifier"`
				Passed   map[string]string `yaml:"passed"`
				Refused  map[string]string `yaml:"refused"`
			} `yaml:"vsa"`
			Identity map[string]any `yaml:"identity"`
			Policies []string       `yaml:"policies"`
		}
		if err := yaml.Load([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		const key = "projects/acme-keys/locations/us-east1/keyRings/summaries/cryptoKeys/passed/cryptoKeyVersions/1"
		if c.Dependencies.Rates["kms"] != 50 || c.VSA.Verifier != "https://gate.acme.example" || c.VSA.Passed["kms"] != key || len(c.VSA.Refused) > 0 ||
			len(c.Identity) == 0 || len(c.Policies) != 1 {
			t.Errorf("%s: the configuration is\n%s", service, text)
		}
	}
	file := string(read(t, confGate))
	if got := planExample(t, dirs, splitProjects, `{}`).instances["module.gate.google_secret_manager_secret_version.config"].text("secret_data"); got != file {
		t.Error("without settings the configuration is not the file")
	}
	for _, section := range []string{"identity", "policies", "store", "admission"} {
		if refused := planModule(t, dirs, "service", serviceInputs(`"settings": {"`+section+`": {}}`)).refused; len(refused) != 1 {
			t.Errorf("%s is taken from Terraform", section)
		}
	}

	signers := 0
	for _, m := range p.of("google_kms_crypto_key_iam_member") {
		if strings.Contains(m.text("crypto_key_id"), "/keyRings/summaries/") {
			signers++
		}
	}
	if signers != 2 {
		t.Errorf("%d accounts sign summaries", signers)
	}
}

// TestExportsAreKept: nobody replaces an export in its time, and those who write do not read.
func TestExportsAreKept(t *testing.T) {
	p := planExample(t, readDirs(t), splitProjects, everyOption)
	bucket := p.instances["module.exports[0].google_storage_bucket.exports"]
	if bucket.text("retention_policy.0.retention_period") != "189216000" || bucket.text("public_access_prevention") != "enforced" ||
		shown(bucket.lifecycle["prevent_destroy"]) != "true" {
		t.Errorf("retention %s, public access %s", bucket.text("retention_policy.0.retention_period"), bucket.text("public_access_prevention"))
	}
	roles := map[string][]string{}
	for _, m := range p.of("google_storage_bucket_iam_member") {
		if m.text("bucket") == "acme-gate-exports" {
			roles[m.text("role")] = append(roles[m.text("role")], m.text("member"))
		}
	}
	if len(roles) != 2 || !slices.Equal(roles["roles/storage.objectViewer"], []string{"group:audit@acme.example"}) ||
		len(roles["roles/storage.objectCreator"]) != 2 {
		t.Errorf("grants: %q", roles)
	}
}
