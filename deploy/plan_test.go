package deploy_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

const (
	oneProject    = "terraform/examples/one-project"
	splitProjects = "terraform/examples/split-projects"
)

// planExample evaluates an example with the values of the provider's tests, and more on top of them.
func planExample(t *testing.T, dirs map[string]dir, root, more string) *plan {
	t.Helper()
	given := values(t, examples("@sha256:" + strings.Repeat("a", 64))[root], root)
	maps.Copy(given, values(t, more, root))
	return evaluate(t, dirs, root, given)
}

// planModule evaluates a module alone.
func planModule(t *testing.T, dirs map[string]dir, name, given string) *plan {
	t.Helper()
	root := "terraform/modules/" + name
	return evaluate(t, dirs, root, values(t, given, root))
}

// everyOption is the second example with all that it can have.
const everyOption = `{
	"people": {"oncall": ["group:oncall@acme.example"], "security": ["group:security@acme.example"]},
	"ci_callers": {"api": "attribute.repository/acme/api"},
	"builds": {"api": {"owner": "acme", "repository": "api"}, "web": {"owner": "acme", "repository": "web"}},
	"internal_certificate": "projects/acme-gate/regions/us-east1/sslCertificates/gate",
	"other_regions": {"us-east4": "10.20.0.0/24", "us-west1": "10.30.0.0/24"}, "replica_region": "us-east4",
	"private_service_connect": "10.10.255.1", "rates": {"kms": 50}, "summaries": true, "auditors": ["group:audit@acme.example"],
	"clusters": {"acme-shop": {"us-east1.shop": {"enforce": true}}}
}`

// tagged has the organisation's policies hold for tags. Posture does not pass it: what has no tag is not restricted.
const tagged = `{"scope": {"production": "123/environment/production", "internal": "123/exposure/internal"}}`

// TestGoogleTakesThePlans applies both examples in empty projects, as Google documents its services: nothing is refused, in
// whichever order terraform makes what does not wait for one another.
func TestGoogleTakesThePlans(t *testing.T) {
	dirs := readDirs(t)
	for _, e := range []struct{ root, more string }{
		{oneProject, `{}`}, {splitProjects, `{}`}, {splitProjects, everyOption},
		{splitProjects, tagged},
		{oneProject, `{"other_regions": {"us-east4": "10.20.0.0/24"}, "replica_region": "us-east4", "summaries": true, "auditors": ["group:a@acme.example"]}`},
		{oneProject, `{"collector_image": null, "encrypt": false, "hash_key": null}`},
		{splitProjects, `{"organization": null, "deploy_projects": []}`},
	} {
		p := planExample(t, dirs, e.root, e.more)
		if n := len(p.of("")); n < 100 {
			t.Errorf("%s with %s: only %d resources", e.root, e.more, n)
		}
		for _, r := range append(p.refusals(), p.refused...) {
			t.Errorf("%s with %s: %s", e.root, e.more, r)
		}
	}
}

// A planFault is a mistake put into a module, and what must be said of it.
type planFault struct {
	file, old, new string // a replacement in terraform/
	want           string
}

// impatient is a call of a module, in the first example, that does not wait for the APIs and their agents.
func impatient(module, want string) planFault {
	source := "../../modules/" + module + "\""
	return planFault{"examples/one-project/main.tf", "source     = \"" + source + "\n  depends_on = [module.apis]", "source = \"" + source, want}
}

func planFaults() map[string]planFault {
	return map[string]planFault{
		"creates Google's topics": {
			"modules/events/main.tf", `&& (!startswith(t.name, "container-analysis-") || var.create_container_analysis_topics)`, "",
			"ALREADY_EXISTS: Google made this topic",
		},
		"grants before IAP's agent exists": {
			"modules/apis/main.tf", `"iap.googleapis.com", "pubsub.googleapis.com"]`, `"pubsub.googleapis.com"]`,
			"gcp-sa-iap.iam.gserviceaccount.com does not exist yet",
		},
		"the edge does not wait for its API":          impatient("edge", "SERVICE_DISABLED: compute.googleapis.com"),
		"the events do not wait for the agents":       impatient("events", "gcp-sa-pubsub.iam.gserviceaccount.com does not exist yet"),
		"the key does not wait for Cloud Run's agent": impatient("encryption", "serverless-robot-prod.iam.gserviceaccount.com does not exist yet"),
		"the table does not wait for Pub/Sub's agent": impatient("warehouse", "gcp-sa-pubsub.iam.gserviceaccount.com does not exist yet"),
		"no agent of Binary Authorization where the note is": {
			"modules/apis/main.tf", `keys   = ["binaryauthorization.googleapis.com"] #`, `keys = [] #`,
			"gcp-sa-binaryauthorization.iam.gserviceaccount.com does not exist yet",
		},
		"IAM is given no time to learn of agents": {
			"modules/apis/main.tf", "count = var.settle > 0 ? 1 : 0", "count = 0",
			"gcp-sa-pubsub.iam.gserviceaccount.com does not exist yet",
		},
		"agents are created before their API is on": {
			"modules/apis/main.tf", "  depends_on = [google_project_service.api]\n", "",
			"SERVICE_DISABLED",
		},
		"secrets before Secret Manager is on": impatient("service", "SERVICE_DISABLED: secretmanager.googleapis.com"),
		"alerts before Monitoring is on":      impatient("monitoring", "SERVICE_DISABLED: monitoring.googleapis.com"),
		"an API that nobody enables": {
			"modules/apis/main.tf", `"iam.googleapis.com", "vpcaccess.googleapis.com",`, "",
			"SERVICE_DISABLED: iam.googleapis.com",
		},
		"Cloud Armor's key is the caller's header": {
			"modules/edge/armor.tf", `enforce_on_key = "IP"`, `enforce_on_key = "HTTP_HEADER"`,
			"all ID tokens share one bucket",
		},
		"a sidecar with half a CPU": {
			"modules/service/main.tf", `limits = { cpu = "1", memory = "256Mi" }`, `limits = { cpu = "0.5", memory = "256Mi" }`,
			"0.5 CPU",
		},
		"the load balancer speaks old TLS": {
			"modules/edge/main.tf", "  ssl_policy       = google_compute_ssl_policy.edge.id\n", "",
			"there is no SSL policy",
		},
		"two regions share secrets": {
			"examples/split-projects/main.tf", "  suffix               = \"-${each.key}\"\n", "",
			"ALREADY_EXISTS",
		},
		"the replaced version of a secret is destroyed": {
			"modules/service/secrets.tf", `deletion_policy = "ABANDON"`, `deletion_policy = "DELETE"`,
			"starts no instance any more",
		},
		"a service before IAM applies its grants": {
			"modules/service/secrets.tf", "count = var.settle > 0 ? 1 : 0", "count = 0",
			"may not read the secret gate-config yet",
		},
		"a service before the grants of its secrets": {
			"modules/service/secrets.tf", "keys(google_secret_manager_secret_iam_member.reader), ", "",
			"may not read the secret gate-config yet",
		},
		"a service before its account may log in to the database": {
			"modules/identities/outputs.tf", "  depends_on  = [google_project_iam_member.sql_client, google_project_iam_member.sql_user]\n", "",
			"may not log in to the database yet",
		},
		"a service before Cloud Run may pull its image": {
			"examples/split-projects/main.tf", ", google_artifact_registry_repository_iam_member.deploy]", "]",
			"may not pull us-east1-docker.pkg.dev/acme-images/prod/ yet",
		},
		"a service before Cloud Run may use the key": {
			"modules/encryption/outputs.tf", "  depends_on  = [google_kms_crypto_key_iam_member.run]\n", "",
			"may not use the key yet",
		},
		"an internal load balancer before its proxies' subnet": {
			"modules/network/outputs.tf", "  depends_on  = [google_compute_subnetwork.proxies]\n", "",
			"there is no subnet of proxies yet",
		},
		"an endpoint's name with a hyphen": {
			"modules/network/main.tf", `name                  = "gategoogleapis"`, `name                  = "gate-googleapis"`,
			"INVALID_ARGUMENT",
		},
		"two of a name": {
			"modules/log/main.tf", `name     = "log"`, `name     = "gate"`,
			"ALREADY_EXISTS",
		},
	}
}

// TestPlanFaultsAreFound puts each mistake back that once was there, and some of their kind.
func TestPlanFaultsAreFound(t *testing.T) {
	for name, f := range planFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := false
			dirs := readDirsChanged(t, func(file, text string) string {
				if file != "terraform/"+f.file {
					return text
				}
				found = strings.Contains(text, f.old)
				return strings.ReplaceAll(text, f.old, f.new)
			})
			if !found {
				t.Fatalf("%s lacks %s", f.file, f.old)
			}
			said := func(r string) bool { return strings.Contains(r, f.want) }
			got := planExample(t, dirs, oneProject, `{}`).refusals()
			if !slices.ContainsFunc(got, said) {
				got = append(got, planExample(t, dirs, splitProjects, everyOption).refusals()...)
			}
			if !slices.ContainsFunc(got, said) {
				t.Errorf("want %q in %q", f.want, got)
			}
		})
	}
}

// TestNamesOfThePlans: what cannot be replaced under its name gets another one, and what somebody names stays within Google's
// bounds and collides with nothing.
func TestNamesOfThePlans(t *testing.T) {
	dirs := readDirs(t)
	certificate := func(host string) *instance {
		p := planExample(t, dirs, oneProject, fmt.Sprintf(`{"api_host": %q}`, host))
		return p.of("google_compute_managed_ssl_certificate")[0]
	}
	one, other := certificate("gate.acme.example"), certificate("gate.other.example")
	if one.text("name") == other.text("name") || one.lifecycle["create_before_destroy"] != cty.True {
		t.Errorf("certificates of other hosts: %s and %s, before the old one is gone: %v", one.text("name"), other.text("name"), one.lifecycle)
	}

	// Until Google has issued it, the one before serves.
	p := planExample(t, dirs, oneProject, `{"former_certificates": ["projects/acme/global/sslCertificates/gate-edge"]}`)
	if got := p.of("google_compute_target_https_proxy")[0].text("ssl_certificates"); !strings.HasSuffix(got,
		"google_compute_managed_ssl_certificate.edge.id> projects/acme/global/sslCertificates/gate-edge") {
		t.Errorf("the proxy has the certificates %s", got)
	}

	for _, root := range []string{oneProject, splitProjects} {
		p := planExample(t, dirs, root, `{"database_name": "gate-2"}`)
		if db := p.of("google_sql_database_instance"); len(db) != 1 || db[0].text("name") != "gate-2" {
			t.Errorf("%s: the instance cannot be named otherwise", root)
		}
	}

	// Google keeps the id of a deleted pool for a month.
	for _, in := range planExample(t, dirs, splitProjects, `{"ci_pool": "gate-ci-2", "ci_callers": {"api": "attribute.repository/acme/api"}}`).of("") {
		if strings.Contains(in.text("member"), "workloadIdentityPools/gate-ci/") ||
			in.kind == "google_iam_workload_identity_pool" && in.text("workload_identity_pool_id") != "gate-ci-2" {
			t.Errorf("%s is of the first pool", in.addr)
		}
	}

	// Two branches, and two images of one name, have a trigger each.
	trigger := func(more string) string {
		p := planModule(t, dirs, "build", `{"project": "acme", "region": "us-east1", "owner": "acme", "repository": "api", "service_account": "x",
			"gate_image": "gate@sha256:`+strings.Repeat("a", 64)+`", "gate_url": "https://gate.acme.example", `+more+`}`)
		for _, problem := range own(p.of("google_cloudbuild_trigger")[0]) {
			t.Error(problem)
		}
		return p.of("google_cloudbuild_trigger")[0].text("name")
	}
	names := []string{
		trigger(`"image": "us-docker.pkg.dev/acme/prod/api"`), trigger(`"image": "us-docker.pkg.dev/acme/test/api"`),
		trigger(`"image": "us-docker.pkg.dev/acme/prod/api", "branch": "^release$"`),
		trigger(`"image": "us-docker.pkg.dev/acme/prod/` + strings.Repeat("a-long-name", 12) + `"`),
		trigger(`"image": "us-docker.pkg.dev/acme/prod/` + strings.Repeat("a-long-name", 11) + `"`),
	}
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("two triggers of one name: %q", names)
	}
}

// TestNamesAreBounded: whatever is given, a plan that is not refused by its own validations is not refused by Google.
func TestNamesAreBounded(t *testing.T) {
	dirs := readDirs(t)
	people := func(task string) *plan {
		return planModule(t, dirs, "identities", fmt.Sprintf(`{"project": "acme", "build_project": "acme", "people": {%q: ["group:a@acme.example"]}}`, task))
	}
	federated := func(caller, provider string) *plan {
		return planModule(t, dirs, "federation", fmt.Sprintf(`{"project": "acme", "project_number": "1", "callers": {%q: "attribute.repository/acme/api"},
			"oidc": {%q: {"issuer": "https://ci.example", "condition": "assertion.sub == 'x'", "attributes": {}}}}`, caller, provider))
	}
	for name, p := range map[string]*plan{
		"task of 25": people(strings.Repeat("a", 25)), "task of 26": people(strings.Repeat("a", 26)), "task of one": people("a"),
		"task in capitals": people("Oncall"), "task that ends with -": people("on-"), "a task named builder": people("builder"),
		"a task that a caller may have": people("ci-api"),
		"caller of 22":                  federated(strings.Repeat("a", 22), "github"), "caller of 23": federated(strings.Repeat("a", 23), "github"),
		"provider of 3": federated("api", "aws"), "provider of 33": federated("api", strings.Repeat("a", 33)), "caller in capitals": federated("API", "github"),
	} {
		google := slices.DeleteFunc(p.refusals(), func(r string) bool { return strings.Contains(r, "SERVICE_DISABLED") })
		if len(p.refused) == 0 && len(google) > 0 {
			t.Errorf("%s: Google refuses what the module takes: %q", name, google)
		}
	}
	for name, p := range map[string]*plan{"task of 25": people(strings.Repeat("a", 25)), "caller of 22": federated(strings.Repeat("a", 22), "github")} {
		if len(p.refused) > 0 {
			t.Errorf("%s is refused: %q", name, p.refused)
		}
	}
	for name, p := range map[string]*plan{"a task named builder": people("builder"), "a task named as a caller's account": people("ci-api")} {
		if len(p.refused) == 0 {
			t.Errorf("%s shares a service account", name)
		}
	}
}

// TestNobodyWatchesWithoutCollector: no alert on a metric that nothing collects.
func TestNobodyWatchesWithoutCollector(t *testing.T) {
	dirs := readDirs(t)
	for _, root := range []string{oneProject, splitProjects} {
		with := planExample(t, dirs, root, `{}`)
		without := planExample(t, dirs, root, `{"collector_image": null}`)
		if n := len(with.of("google_monitoring_alert_policy")); n < 20 {
			t.Errorf("%s: %d alerts with a collector", root, n)
		}
		if n := len(without.of("google_monitoring_alert_policy")); n != 0 {
			t.Errorf("%s: %d alerts that would be raised for ever", root, n)
		}
	}
}

// TestPerimeterAdmitsWhoMustPass: once enforced, the perimeter lets builds push, agents pull and read attestations, and the
// gate work; and what is enforced is what was tried.
func TestPerimeterAdmitsWhoMustPass(t *testing.T) {
	dirs := readDirs(t)
	p := planExample(t, dirs, splitProjects, everyOption)
	perimeter := p.of("google_access_context_manager_service_perimeter")[0]
	agent := func(project, domain string) string {
		return "serviceAccount:service-" + number(project) + "@" + domain + ".iam.gserviceaccount.com"
	}
	const (
		gate     = "serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com"
		operator = "serviceAccount:terraform@acme-admin.iam.gserviceaccount.com"
	)
	for _, r := range []struct {
		identity, from, service string
		want                    bool
	}{
		{"serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com", "", "artifactregistry.googleapis.com", true},
		{"serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com", "", "cloudkms.googleapis.com", false},
		{agent("acme-shop", "serverless-robot-prod"), "", "artifactregistry.googleapis.com", true},
		{agent("acme-gate", "serverless-robot-prod"), "", "artifactregistry.googleapis.com", true},
		{agent("acme-other", "serverless-robot-prod"), "", "artifactregistry.googleapis.com", false},
		{agent("acme-shop", "gcp-sa-binaryauthorization"), "", "containeranalysis.googleapis.com", true},
		{agent("acme-gate", "gcp-sa-binaryauthorization"), "", "binaryauthorization.googleapis.com", true},
		{agent("acme-gate", "serverless-robot-prod"), "", "cloudkms.googleapis.com", true}, // decrypts the gate's services
		{agent("acme-shop", "serverless-robot-prod"), "", "cloudkms.googleapis.com", false},
		{operator, "", "cloudkms.googleapis.com", true}, {operator, "", "artifactregistry.googleapis.com", true},
		{operator, "", "containeranalysis.googleapis.com", true}, {operator, "", "binaryauthorization.googleapis.com", true},
		{gate, "acme-gate", "cloudkms.googleapis.com", true},
		{gate, "acme-gate", "containeranalysis.googleapis.com", true},
		{gate, "acme-shop", "cloudkms.googleapis.com", false}, // stolen credentials, used from elsewhere
		{gate, "", "cloudkms.googleapis.com", false},
		{"user:a@acme.example", "acme-gate", "cloudkms.googleapis.com", false},
	} {
		for _, of := range []string{"status.0", "spec.0"} {
			if got := perimeter.admits(of, r.identity, r.from, r.service); got != r.want {
				t.Errorf("%s: %s from %q to %s: admitted %v", of, r.identity, r.from, r.service, got)
			}
		}
	}

	// Who has nothing to do inside has no rule, and whoever applies this must.
	without := planExample(t, dirs, splitProjects, `{"encrypt": false, "enforce_perimeter": false, "operators": []}`)
	for _, in := range without.of("google_access_context_manager_service_perimeter") {
		if in.admits("spec.0", agent("acme-gate", "serverless-robot-prod"), "", "cloudkms.googleapis.com") ||
			in.admits("spec.0", operator, "", "cloudkms.googleapis.com") {
			t.Error("the perimeter admits to a key that is not there, or an operator that nobody named")
		}
	}
	if refused := planExample(t, dirs, splitProjects, `{"operators": []}`).refused; len(refused) != 1 {
		t.Errorf("a perimeter that nobody can apply again: %q", refused)
	}
	more := planExample(t, dirs, splitProjects, `{"ingress": {"scanner": {"identities": ["serviceAccount:scan@acme.iam.gserviceaccount.com"],
		"services": ["artifactregistry.googleapis.com"]}}}`).of("google_access_context_manager_service_perimeter")[0]
	if !more.admits("status.0", "serviceAccount:scan@acme.iam.gserviceaccount.com", "", "artifactregistry.googleapis.com") ||
		!more.admits("status.0", gate, "acme-gate", "cloudkms.googleapis.com") {
		t.Error("a further rule is not there, or is there in place of the others")
	}

	tried := planExample(t, dirs, splitProjects, `{"enforce_perimeter": false}`).of("google_access_context_manager_service_perimeter")[0]
	if tried.text("status.0.resources") != "" || tried.text("use_explicit_dry_run_spec") != "true" || tried.text("spec.0.resources") == "" {
		t.Error("the perimeter refuses before anybody asked for that, or tries nothing")
	}
}

// TestPerimeterAdmitsWhatIsGranted: whoever has a role on something inside the perimeter can use it, but for what the
// perimeter does not restrict.
func TestPerimeterAdmitsWhatIsGranted(t *testing.T) {
	dirs := readDirs(t)
	p := planExample(t, dirs, splitProjects, everyOption)
	perimeter := p.of("google_access_context_manager_service_perimeter")[0]
	asked := map[string]int{}
	for _, in := range p.of("") {
		member, service := in.text("member"), p.api(in)
		if in.kind == "google_project_iam_member" { // by the role's name
			service, _, _ = strings.Cut(strings.TrimPrefix(in.text("role"), "roles/"), ".")
		}
		if project := p.follow(in.project()); member == "" || project != "acme-keys" && project != "acme-images" {
			continue
		}
		if m := serviceAgent.FindStringSubmatch(member); m != nil && (m[1] == number("acme-keys") || m[1] == number("acme-images")) {
			continue // Google's agent of a project inside
		}
		asked[service]++
		service += ".googleapis.com"
		if !perimeter.admits("status.0", member, "acme-gate", service) && !perimeter.admits("status.0", member, "", service) {
			t.Errorf("%s: %s has %s, and the perimeter refuses it", in.addr, member, in.text("role"))
		}
	}
	for _, service := range []string{"cloudkms", "containeranalysis", "binaryauthorization", "artifactregistry"} {
		if asked[service] < 2 {
			t.Errorf("only %d grants of %s: this test would prove little", asked[service], service)
		}
	}
}

// networkPolicy is one with blocks of addresses.
type networkPolicy struct {
	Spec struct {
		PolicyTypes []string `yaml:"policyTypes"`
		Egress      []struct {
			Ports []struct {
				Port     any    `yaml:"port"`
				Protocol string `yaml:"protocol"`
			} `yaml:"ports"`
			To []struct {
				IPBlock struct {
					CIDR   string   `yaml:"cidr"`
					Except []string `yaml:"except"`
				} `yaml:"ipBlock"`
			} `yaml:"to"`
		} `yaml:"egress"`
	} `yaml:"spec"`
}

func (n networkPolicy) admits(t *testing.T, address, protocol string, port int) bool {
	t.Helper()
	to := netip.MustParseAddr(address)
	within := func(cidr string) bool { return netip.MustParsePrefix(cidr).Contains(to) }
	for _, rule := range n.Spec.Egress {
		for _, p := range rule.Ports {
			for _, b := range rule.To {
				if p.Port == port && p.Protocol == protocol && b.IPBlock.CIDR != "" && within(b.IPBlock.CIDR) &&
					!slices.ContainsFunc(b.IPBlock.Except, within) {
					return true
				}
			}
		}
	}
	return false
}

// TestNetworkPolicyAdmits: the gate's pods resolve names, also by NodeLocal DNSCache, and reach what they need and no more.
func TestNetworkPolicyAdmits(t *testing.T) {
	var n networkPolicy
	readYAML(t, "kubernetes/base/networkpolicy.yaml", &n)
	if !slices.Contains(n.Spec.PolicyTypes, "Egress") {
		t.Error("egress is open")
	}
	for _, c := range []struct {
		address, protocol string
		port              int
		want              bool
	}{
		{"169.254.20.10", "UDP", 53, true}, {"169.254.20.10", "TCP", 53, true}, {"169.254.169.252", "TCP", 988, true}, {"169.254.169.254", "TCP", 80, true},
		{"10.0.0.5", "TCP", 5432, true}, {"199.36.153.8", "TCP", 443, true},
		{"169.254.169.254", "TCP", 443, false}, {"10.0.0.5", "TCP", 22, false}, {"203.0.113.9", "TCP", 80, false}, {"203.0.113.9", "UDP", 53, false},
	} {
		if got := n.admits(t, c.address, c.protocol, c.port); got != c.want {
			t.Errorf("%s %s:%d: admitted %v", c.protocol, c.address, c.port, got)
		}
	}
}
