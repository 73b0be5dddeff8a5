package deploy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// What Google documents about the first apply in an empty project, asked of a plan: an API that is not enabled refuses
// (SERVICE_DISABLED), IAM refuses a member that does not exist, what exists cannot be created again (ALREADY_EXISTS), and each
// service has rules of its own. Terraform makes two resources at once unless one waits for the other: what is not waited for
// counts as not there.

// apis are the services that resources belong to, by the beginning of their kind.
func apis() map[string]string {
	return map[string]string{
		"google_cloud_run_v2_": "run", "google_compute_": "compute", "google_sql_": "sqladmin", "google_secret_manager_": "secretmanager",
		"google_pubsub_": "pubsub", "google_cloud_scheduler_": "cloudscheduler", "google_iap_": "iap", "google_monitoring_": "monitoring",
		"google_kms_": "cloudkms", "google_container_analysis_": "containeranalysis", "google_binary_authorization_": "binaryauthorization",
		"google_artifact_registry_": "artifactregistry", "google_service_account": "iam", "google_iam_": "iam", "google_cloudbuild_": "cloudbuild",
		"google_dns_": "dns", "google_bigquery_": "bigquery", "google_storage_": "storage", "google_service_networking_": "servicenetworking",
		"google_vpc_access_": "vpcaccess",
		// Of no project, or on in every one.
		"terraform_data": "", "google_project_": "", "google_tags_": "", "google_org_policy_": "", "google_access_context_manager_": "",
	}
}

// agents are the services that Google's service agents belong to, by the domain of their address.
func agents() map[string]string {
	return map[string]string{
		"serverless-robot-prod": "run", "gcp-sa-iap": "iap", "gcp-sa-pubsub": "pubsub", "gcp-sa-binaryauthorization": "binaryauthorization",
	}
}

var (
	inProject    = regexp.MustCompile(`projects/([a-z][a-z0-9-]+)/`)
	serviceAgent = regexp.MustCompile(`^serviceAccount:service-([0-9]+)@([a-z-]+)\.iam\.gserviceaccount\.com$`)
	accountID    = regexp.MustCompile(`^[a-z]([-a-z0-9]{4,28}[a-z0-9])$`)
)

// project is the project that a resource is in, as it says or by what it lies within.
func (in *instance) project() string {
	if p := in.text("project"); p != "" && p[0] != '<' {
		return p
	}
	for _, within := range []string{"secret", "key_ring", "crypto_key_id", "service_account_id", "network"} {
		if m := inProject.FindStringSubmatch(in.text(within)); m != nil {
			return m[1]
		}
	}
	// A made-up value names the resource that it is from.
	for _, within := range []string{"secret", "key_ring", "crypto_key_id", "service_account_id", "network"} {
		if from := in.text(within); strings.HasPrefix(from, "<") {
			return from
		}
	}
	return "<bucket " + in.text("bucket") + "." // which another resource makes
}

// node is the address without keys, as waits has it.
func (in *instance) node() string {
	return regexp.MustCompile(`\["[^]]*"\]|\[[0-9]+\]`).ReplaceAllString(in.addr, "")
}

// refusals is what Google refuses of a first apply.
func (p *plan) refusals() []string {
	var out []string
	seen := map[string]string{}
	for _, in := range p.of("") {
		say := func(format string, a ...any) { out = append(out, in.addr+": "+fmt.Sprintf(format, a...)) }
		if api := p.api(in); api != "" && !p.waitsFor(in, "google_project_service", in.project(), api) {
			say("SERVICE_DISABLED: %s.googleapis.com in %s", api, in.project())
		}
		if in.kind == "google_project_service_identity" && !p.waitsFor(in, "google_project_service", in.text("project"), short(in.text("service"))) {
			say("SERVICE_DISABLED: %s in %s", in.text("service"), in.text("project"))
		}
		if m := serviceAgent.FindStringSubmatch(in.text("member")); m != nil {
			if agents()[m[2]] == "" || !p.waitsForAgent(in, m[1], agents()[m[2]]) {
				say("the service agent %s does not exist yet", m[0])
			}
		}
		if name := p.identity(in); name != "" {
			if other := seen[name]; other != "" {
				say("ALREADY_EXISTS: %s is made by %s", name, other)
			}
			seen[name] = in.addr
		}
		for _, problem := range append(own(in), p.unready(in)...) {
			say("%s", problem)
		}
	}
	return out
}

func short(service string) string { return strings.TrimSuffix(service, ".googleapis.com") }

func (p *plan) api(in *instance) string {
	for prefix, api := range apis() {
		if strings.HasPrefix(in.kind, prefix) {
			return api
		}
	}
	return "unknown"
}

// follow reads a made-up value's resource: its project.
func (p *plan) follow(project string) string {
	for range 5 {
		from, ok := strings.CutPrefix(project, "<")
		if !ok {
			return project
		}
		for addr, in := range p.instances {
			if strings.HasPrefix(from, addr+".") || in.kind == "google_storage_bucket" && from == "bucket "+in.text("name")+"." {
				project = in.project()
			}
		}
	}
	return project
}

func (p *plan) waitsFor(in *instance, kind, project, api string) bool {
	project = p.follow(project)
	return slices.ContainsFunc(p.of(kind), func(s *instance) bool {
		return s.text("project") == project && s.text("service") == api+".googleapis.com" && in.waits[s.node()]
	})
}

// waitsForAgent: the agent is created before, and IAM was given time to learn of it.
func (p *plan) waitsForAgent(in *instance, projectNumber, api string) bool {
	settled := p.settled(in)
	return slices.ContainsFunc(p.of("google_project_service_identity"), func(s *instance) bool {
		return number(s.text("project")) == projectNumber && s.text("service") == api+".googleapis.com" && settled[s.node()]
	})
}

// settled are the resources that are there before a resource, and that Google has had time to learn of.
func (p *plan) settled(in *instance) set {
	out := set{}
	for _, pause := range p.of("terraform_data") {
		if in.waits[pause.node()] {
			out.add(pause.waits)
		}
	}
	return out
}

var pulled = regexp.MustCompile(`^([a-z0-9-]+)-docker\.pkg\.dev/([^/]+)/([^/]+)/`)

// unready is what an internal load balancer lacks, and a service when Cloud Run starts its first revision: it refuses one that
// may not read its secrets, use its key or pull its image, and the gate ends without its database. The service is there then,
// and cannot be created again.
func (p *plan) unready(in *instance) []string {
	if in.kind == "google_compute_forwarding_rule" && in.text("load_balancing_scheme") == "INTERNAL_MANAGED" {
		if !slices.ContainsFunc(p.of("google_compute_subnetwork"), func(s *instance) bool {
			here := s.text("region") == in.text("region") && s.text("network") == in.text("network")
			return s.text("purpose") == "REGIONAL_MANAGED_PROXY" && here && in.waits[s.node()]
		}) {
			return []string{"there is no subnet of proxies yet"}
		}
	}
	if in.kind != "google_cloud_run_v2_service" {
		return nil
	}
	account := "serviceAccount:" + in.text("template.0.service_account")
	agent := "serviceAccount:service-" + number(in.text("project")) + "@serverless-robot-prod.iam.gserviceaccount.com"
	settled := p.settled(in)
	granted := func(kind, role, member string, on map[string]string) bool {
		return slices.ContainsFunc(p.of(kind), func(g *instance) bool {
			for name, want := range on {
				if g.text(name) != want {
					return false
				}
			}
			return g.text("role") == role && g.text("member") == member && settled[g.node()]
		})
	}

	var out []string
	for _, v := range list(get(in.value, "template.0.volumes")) {
		secret := shown(get(v, "secret.0.secret"))
		if !granted("google_secret_manager_secret_iam_member", "roles/secretmanager.secretAccessor", account, map[string]string{"secret_id": secret}) {
			out = append(out, account+" may not read the secret "+secret+" yet")
		}
	}
	if key := in.text("template.0.encryption_key"); key != "" &&
		!granted("google_kms_crypto_key_iam_member", "roles/cloudkms.cryptoKeyEncrypterDecrypter", agent, map[string]string{"crypto_key_id": key}) {
		out = append(out, agent+" may not use the key yet")
	}
	for _, c := range list(get(in.value, "template.0.containers")) {
		at := pulled.FindStringSubmatch(shown(get(c, "image")))
		ours := at != nil && slices.ContainsFunc(p.of("google_artifact_registry_repository"), func(r *instance) bool {
			return r.text("project") == at[2] && r.text("repository_id") == at[3]
		})
		if ours && at[2] != in.text("project") && !granted("google_artifact_registry_repository_iam_member", "roles/artifactregistry.reader", agent,
			map[string]string{"location": at[1], "project": at[2], "repository": at[3]}) {
			out = append(out, agent+" may not pull "+at[0]+" yet")
		}
		for _, role := range []string{"roles/cloudsql.client", "roles/cloudsql.instanceUser"} {
			if strings.Contains(shown(get(c, "args")), "--auto-iam-authn") &&
				!granted("google_project_iam_member", role, account, map[string]string{"project": in.text("project")}) {
				out = append(out, account+" may not log in to the database yet: "+role)
			}
		}
	}
	return out
}

// identity is the name that there may be only one of; nothing for what is no thing of its own, such as a grant.
func (p *plan) identity(in *instance) string {
	if strings.Contains(in.kind, "_iam_") && !strings.HasPrefix(in.kind, "google_iam_") {
		return ""
	}
	parts := []string{in.kind, p.follow(in.project())}
	for _, name := range []string{"location", "region", "instance", "managed_zone", "workload_identity_pool_id", "key_ring", "secret", "parent"} {
		parts = append(parts, in.text(name))
	}
	for _, name := range []string{
		"name", "account_id", "secret_id", "repository_id", "service", "dataset_id", "table_id",
		"workload_identity_pool_provider_id", "short_name", "display_name",
	} {
		if s := in.text(name); s != "" && s[0] != '<' {
			return strings.Join(append(parts, s), " ")
		}
	}
	return ""
}

// own are the rules of single services.
func own(in *instance) []string {
	var out []string
	say := func(bad bool, what string) {
		if bad {
			out = append(out, what)
		}
	}
	switch in.kind {
	case "google_service_account":
		say(!accountID.MatchString(in.text("account_id")), "INVALID_ARGUMENT: an account id has 6 to 30 characters: "+in.text("account_id"))
	case "google_cloudbuild_trigger":
		name := in.text("name")
		say(!regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?$`).MatchString(name), "INVALID_ARGUMENT: a trigger's name: "+name)
	case "google_compute_global_forwarding_rule":
		name := in.text("name")
		endpoint := in.text("target") == "all-apis" || in.text("target") == "vpc-sc"
		say(endpoint && !regexp.MustCompile(`^[a-z][a-z0-9]{0,19}$`).MatchString(name), "INVALID_ARGUMENT: the name of an endpoint for Google's APIs: "+name)
	case "google_pubsub_topic":
		// Artifact Analysis makes its topics when it is enabled; module events says when it cannot.
		say(strings.HasPrefix(in.text("name"), "container-analysis-"), "ALREADY_EXISTS: Google made this topic")
	case "google_secret_manager_secret_version":
		say(in.text("deletion_policy") != "ABANDON", "a revision that names the replaced version starts no instance any more")
	case "google_iam_workload_identity_pool_provider":
		id := in.text("workload_identity_pool_provider_id")
		say(!regexp.MustCompile(`^[a-z0-9-]{4,32}$`).MatchString(id), "INVALID_ARGUMENT: a provider's id has 4 to 32 characters: "+id)
	case "google_cloud_run_v2_service":
		// With CPU outside requests and several requests at once, one CPU is the least.
		if in.text("template.0.containers.0.resources.0.cpu_idle") != "false" || in.text("template.0.max_instance_request_concurrency") == "1" {
			break
		}
		for _, c := range list(get(in.value, "template.0.containers")) {
			cpu := shown(get(c, "resources.0.limits.cpu"))
			say(!slices.Contains([]string{"1", "2", "4", "6", "8"}, cpu), "INVALID_ARGUMENT: "+shown(get(c, "name"))+" has "+cpu+" CPU")
		}
	case "google_compute_security_policy":
		for i := range get(in.value, "rule").LengthInt() {
			rule := fmt.Sprintf("rule.%d.", i)
			// Cloud Armor cuts header keys at 128 bytes.
			say(strings.HasPrefix(in.text(rule+"rate_limit_options.0.enforce_on_key"), "HTTP_HEADER"),
				"all ID tokens share one bucket, and a varied header escapes")
		}
	case "google_compute_target_https_proxy", "google_compute_region_target_https_proxy":
		say(in.text("ssl_policy") == "", "TLS 1.0 is spoken: there is no SSL policy")
	}
	return out
}

// perimeter is what VPC Service Controls admits from outside, by google_access_context_manager_service_perimeter's status or
// spec (each a path of it).
func (in *instance) admits(of, identity, fromProject, service string) bool {
	if !slices.Contains(strings.Fields(in.text(of+".restricted_services")), service) {
		return true
	}
	for _, rule := range list(get(in.value, of+".ingress_policies")) {
		from := slices.Contains(strings.Fields(shown(get(rule, "ingress_from.0.identities"))), identity)
		source := false
		for _, s := range list(get(rule, "ingress_from.0.sources")) {
			if shown(get(s, "access_level")) == "*" || fromProject != "" && shown(get(s, "resource")) == "projects/"+number(fromProject) {
				source = true
			}
		}
		for _, o := range list(get(rule, "ingress_to.0.operations")) {
			if from && source && shown(get(o, "service_name")) == service {
				return true
			}
		}
	}
	return false
}

func list(v cty.Value) []cty.Value {
	if v.IsNull() || !v.IsKnown() || !v.CanIterateElements() {
		return nil
	}
	return v.AsValueSlice()
}
