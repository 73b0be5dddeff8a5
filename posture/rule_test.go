package posture_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// controls are those of the hardening guide's table; each must be a rule.
var controls = []string{
	"REGION_APPROVED", "INVOKER_AUTH", "INGRESS_RESTRICTED", "DEFAULT_URL_DISABLED", "DEDICATED_SERVICE_ACCOUNT", "LEAST_PRIVILEGE", "VPC_EGRESS",
	"STATIC_EGRESS_IP", "SECRETS_BY_REFERENCE", "SECRETS_AS_FILES", "SECRET_VERSION_PINNED", "MIN_INSTANCES", "MAX_INSTANCES", "RESOURCE_LIMITS",
	"TIMEOUT_BOUNDED", "CONCURRENCY_SET", "IMAGE_BY_DIGEST", "IMAGE_ATTESTED", "BINARY_AUTHORIZATION", "CMEK", "PROBES",
}

func TestEveryControlIsARuleAndIsDocumentedAndTested(t *testing.T) {
	b := sample(t, "../../docs/posture.md")
	var ids []string
	for _, r := range posture.Rules() {
		ids = append(ids, r.ID)
		if !strings.Contains(b, "| `"+r.ID+"` | ") {
			t.Errorf("docs/posture.md lacks %s", r.ID)
		}
	}
	tested := map[string]bool{}
	for _, tt := range broken {
		tested[tt.rule] = true
	}
	for _, id := range controls {
		if !slices.Contains(ids, id) {
			t.Errorf("no rule judges %s", id)
		}
		if !tested[id] {
			t.Errorf("no case breaks %s", id)
		}
	}
}

// serviceRules are those that are put to every service.
func serviceRules() []posture.RuleInfo {
	return slices.DeleteFunc(posture.Rules(), func(r posture.RuleInfo) bool { return r.Plan || r.Build })
}

func planRules() []posture.RuleInfo {
	return slices.DeleteFunc(posture.Rules(), func(r posture.RuleInfo) bool { return !r.Plan })
}

// beside are the messages of rules that have nothing to judge in a hardened definition.
var beside = []string{"does not apply to a job", "google_cloud_run_v2_service has no field for it",
	"the input does not show the network of the connector or subnetwork",
	"the definition names no database of Cloud SQL", "the platform builds no source for it"}

func TestHardenedIsClean(t *testing.T) {
	for _, name := range []string{"hardened.yaml", "hardened-v2.json", "plan.json", "hardened-job.yaml"} {
		t.Run(name, func(t *testing.T) {
			in, rules := whole(t, sample(t, name)), len(serviceRules())
			if name == "plan.json" { // in strict a plan has to show what stands around its services
				in, rules = surrounded(t, in), len(serviceRules())+len(planRules())
			}
			r := mustJudge(t, builtin(t, "strict"), &attested{answer: true}, in)
			for _, f := range r.Findings {
				if f.Status != attestor.StatusPass && (f.Status != attestor.StatusSkipped || !slices.Contains(beside, f.Message)) {
					t.Errorf("%s %s: %s", f.Status, f.Rule, f.Message)
				}
			}
			if r.Verdict != attestor.Pass || r.Services != 1 || len(r.Findings) != rules {
				t.Errorf("verdict %s, %d services, %d findings", r.Verdict, r.Services, len(r.Findings))
			}
		})
	}
}

const digestImage = "us-docker.pkg.dev/acme/prod/api@sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3"

// broken breaks one rule at a time in hardened.yaml.
var broken = []struct {
	name, rule string
	edits      []string
	found, fix string
}{
	{"another region", "REGION_APPROVED", []string{"location: us-central1", "location: europe-west1"}, "europe-west1", "replace it in us-central1"},
	{"invoker check off", "INVOKER_AUTH", []string{"    run.googleapis.com/ingress:",
		"    run.googleapis.com/invoker-iam-disabled: 'true'\n    run.googleapis.com/ingress:"},
		"disabled", "--invoker-iam-check"},
	{"ingress all", "INGRESS_RESTRICTED", []string{"ingress: internal-and-cloud-load-balancing", "ingress: all"},
		"ingress is all", "--ingress=internal-and-cloud-load-balancing"},
	{"no ingress", "INGRESS_RESTRICTED", []string{"    run.googleapis.com/ingress: internal-and-cloud-load-balancing\n",
		""}, "not set, and defaults to all", "run.googleapis.com/ingress"},
	{"a new ingress", "INGRESS_RESTRICTED", []string{"ingress: internal-and-cloud-load-balancing",
		"ingress: internal-and-more"}, "internal-and-more", "--ingress"},
	{"default URL on", "DEFAULT_URL_DISABLED", []string{"default-url-disabled: 'true'", "default-url-disabled: 'false'"}, "run.app", "--no-default-url"},
	{"default URL not set", "DEFAULT_URL_DISABLED", []string{"    run.googleapis.com/default-url-disabled: 'true'\n", ""}, "run.app", "--no-default-url"},
	{"Compute default", "DEDICATED_SERVICE_ACCOUNT", []string{"serviceAccountName: api@acme.iam.gserviceaccount.com",
		"serviceAccountName: 123456789012-compute@developer.gserviceaccount.com"},
		"default account", "--service-account="},
	{"App Engine default", "DEDICATED_SERVICE_ACCOUNT", []string{"serviceAccountName: api@acme.iam.gserviceaccount.com",
		"serviceAccountName: acme@appspot.gserviceaccount.com"}, "default account", "--service-account="},
	{"no account", "DEDICATED_SERVICE_ACCOUNT", []string{"      serviceAccountName: api@acme.iam.gserviceaccount.com\n",
		""}, "no service account", "--service-account="},
	{"no egress", "VPC_EGRESS", []string{"        run.googleapis.com/network-interfaces: '[{\"network\":\"prod\"," +
		"\"subnetwork\":\"run\"}]'\n", ""}, "no VPC egress", "--network="},
	{"an empty list of interfaces", "VPC_EGRESS", []string{`'[{"network":"prod","subnetwork":"run"}]'`, "'[]'"}, "no VPC egress", "--network="},
	{"an interface without a network", "VPC_EGRESS", []string{`'[{"network":"prod","subnetwork":"run"}]'`, "'[{}]'"}, "no VPC egress", "--network="},
	{"an unknown egress", "VPC_EGRESS", []string{"egress: all-traffic", "egress: some"}, `"some"`, "private-ranges-only"},
	{"private ranges", "STATIC_EGRESS_IP", []string{"egress: all-traffic", "egress: private-ranges-only"}, "not all traffic", "--vpc-egress=all-traffic"},
	{"a password", "SECRETS_BY_REFERENCE",
		[]string{"LOG_LEVEL\n          value: info", "DB_PASSWORD\n          value: hunter2"},
		"DB_PASSWORD has the name of a secret", "--update-secrets=DB_PASSWORD="},
	{"a secret in the environment", "SECRETS_AS_FILES", []string{"LOG_LEVEL\n          value: info", "DB_PASSWORD\n" +
		"          valueFrom: {secretKeyRef: {name: db, key: '1'}}"}, "DB_PASSWORD", "--update-secrets=/secrets/"},
	{"a mount at latest", "SECRET_VERSION_PINNED", []string{"key: '3'", "key: latest"},
		"at version latest", "=db-password:1, or in the YAML: spec: {template: {spec: {volumes:"},
	{"a mount without versions", "SECRET_VERSION_PINNED",
		[]string{"          items:\n          - key: '3'\n            path: password\n", ""},
		"at version latest", "=db-password:1, or in the YAML: spec: {template: {spec: {volumes:"},
	{"no minimum", "MIN_INSTANCES", []string{"minScale: '1'", "minScale: '0'"}, "no instance stays warm", "--min-instances=1"},
	{"no maximum number", "MAX_INSTANCES", []string{"        autoscaling.knative.dev/maxScale: '20'\n", ""}, "no maximum number", "--max-instances="},
	{"no memory limit", "RESOURCE_LIMITS", []string{"            memory: 512Mi\n", ""}, "api-1 has no memory limit", "--memory="},
	{"a long timeout", "TIMEOUT_BOUNDED", []string{"timeoutSeconds: 60", "timeoutSeconds: 61"}, "61s", "--timeout=60s"},
	{"no timeout", "TIMEOUT_BOUNDED", []string{"      timeoutSeconds: 60\n", ""}, "300s", "timeoutSeconds: 60"},
	{"no concurrency", "CONCURRENCY_SET", []string{"      containerConcurrency: 80\n", ""}, "not set", "--concurrency="},
	{"a tag", "IMAGE_BY_DIGEST", []string{digestImage, "us-docker.pkg.dev/acme/prod/api:v7"}, "api:v7", "@sha256:"},
	{"no image", "IMAGE_BY_DIGEST", []string{"        image: " + digestImage + "\n", ""}, `runs ""`, "@sha256:"},
	{"automatic base updates", "IMAGE_BY_DIGEST", []string{"        run.googleapis.com/startup-cpu-boost: 'true'",
		`        run.googleapis.com/base-images: '{"api-1":"go122"}'`}, "base image updates", "@sha256:"},
	{"a tag cannot be attested", "IMAGE_ATTESTED", []string{digestImage, "us-docker.pkg.dev/acme/prod/api:v7"},
		"an attestation is for a digest", "attestor attest"},
	{"Binary Authorization off", "BINARY_AUTHORIZATION", []string{
		"    run.googleapis.com/binary-authorization: default\n", ""}, "is off", "--binary-authorization=default"},
	{"an odd policy", "BINARY_AUTHORIZATION", []string{"binary-authorization: default",
		"binary-authorization: disabled"}, `"disabled"`, "--binary-authorization=default"},
	{"break-glass", "BINARY_AUTHORIZATION", []string{"binary-authorization: default", "binary-authorization: " +
		"default\n    run.googleapis.com/binary-authorization-breakglass: urgent"}, "break-glass", "breakglass"},
	{"empty break-glass", "BINARY_AUTHORIZATION", []string{"binary-authorization: default", "binary-authorization: " +
		"default\n    run.googleapis.com/binary-authorization-breakglass: ''"}, "break-glass", "breakglass"},
	{"no key", "CMEK", []string{"        run.googleapis.com/encryption-key: " +
		"projects/acme/locations/us-central1/keyRings/run/cryptoKeys/api\n", ""}, "no encryption key", "--key="},
	{"an empty probe", "PROBES", []string{"        startupProbe:\n          httpGet:\n            path: /health\n" +
		"            port: 8080\n          timeoutSeconds: 5\n", "        startupProbe: {}\n"},
		"no probe", "startup"},
	{"no probe", "PROBES", []string{"startupProbe:", "readinessProbe:"}, "no probe", "startup"},
	{"SSH", "SHELL_DISABLED", []string{"        run.googleapis.com/startup-cpu-boost: 'true'",
		"        run.googleapis.com/secure-session-agent: 'true'"}, "SSH", "--no-ssh"},
	{"startup probes that do not run", "PROBES", []string{"        run.googleapis.com/startup-cpu-boost: 'true'",
		"        run.googleapis.com/health-check-disabled: 'true'"}, "does not run", "liveness"},
	{"base updates by the build", "IMAGE_BY_DIGEST", []string{"    run.googleapis.com/ingress:",
		"    run.googleapis.com/build-enable-automatic-updates: 'true'\n    run.googleapis.com/ingress:"},
		"base image updates", "@sha256:"},
	{"base updates by an older name", "IMAGE_BY_DIGEST", []string{"    run.googleapis.com/ingress:",
		"    run.googleapis.com/enable-automatic-updates: 'true'\n    run.googleapis.com/ingress:"},
		"base image updates", "@sha256:"},
	{"base updates by the runtime class", "IMAGE_BY_DIGEST", []string{"      timeoutSeconds: 60",
		"      runtimeClassName: run.googleapis.com/linux-base-image-update\n      timeoutSeconds: 60"},
		"base image updates", "@sha256:"},
	{"a second region", "REGION_APPROVED", []string{"    run.googleapis.com/ingress:",
		"    run.googleapis.com/regions: us-east1,europe-west4\n    run.googleapis.com/ingress:"},
		"region europe-west4", "europe-west4"},
	{"a flag and its value", "SECRETS_BY_REFERENCE",
		[]string{"        image: ", "        args: [--verbose, --api-token, hunter2]\n        image: "},
		"an argument of api-1", "--update-secrets="},
	{"a command's flag", "SECRETS_BY_REFERENCE",
		[]string{"        image: ", "        command: [/app, -client-secret, hunter2]\n        image: "},
		"an argument of api-1", "--update-secrets="},
	{"properties", "SECRETS_BY_REFERENCE", []string{"LOG_LEVEL\n          value: info",
		"SETTINGS\n          value: user=u;db.password=hunter2;ssl=true"},
		"a field db.password", "--update-secrets="},
	{"a query", "SECRETS_BY_REFERENCE", []string{"LOG_LEVEL\n          value: info", "UPSTREAM\n          value: " +
		"https://up.example/?v=1&access_token=hunter2"}, "a field access_token", "--update-secrets="},
	{"a list of JSON", "SECRETS_BY_REFERENCE", []string{"LOG_LEVEL\n          value: info", "USERS\n          " +
		"value: '[{\"user\": \"u\", \"apiKey\": \"hunter2\"}]'"}, "a field apiKey", "--update-secrets="},
	{"YAML in a value", "SECRETS_BY_REFERENCE", []string{"LOG_LEVEL\n          value: info",
		"CONF\n          value: \"db:\\n  host: h\\n  passphrase: hunter2\\n\""},
		"a field passphrase", "--update-secrets="},
	{"a probe's header", "SECRETS_BY_REFERENCE", []string{"            path: /health\n",
		"            path: /health\n            httpHeaders: [{name: Cookie, value: session=1}]\n"},
		"the probe header Cookie", "--update-secrets="},
	{"a build's variable", "SECRETS_BY_REFERENCE", []string{"    run.googleapis.com/ingress:",
		"    run.googleapis.com/build-environment-variables: '{\"NPM_TOKEN\": \"hunter2\"}'\n" +
			"    run.googleapis.com/ingress:"}, "a field NPM_TOKEN", "--update-secrets="},
	// LEAST_PRIVILEGE is broken by a policy: TestLeastPrivilege.
	{"the default account's roles", "LEAST_PRIVILEGE", []string{"api@acme.iam.gserviceaccount.com",
		"owner@acme.iam.gserviceaccount.com"}, "roles/owner", "remove-iam-policy-binding"},
}

func TestRulesDeny(t *testing.T) {
	for _, tt := range broken {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			in := whole(t, replace(t, sample(t, "hardened.yaml"), tt.edits...))
			in.ProjectIAM[0].Text = []byte(replace(t, string(in.ProjectIAM[0].Text), "user:owner@acme.example",
				"serviceAccount:owner@acme.iam.gserviceaccount.com"))
			r := mustJudge(t, builtin(t, "strict"), &attested{answer: true}, in)
			f := finding(t, r, tt.rule)
			if f.Status != attestor.StatusDeny || r.Verdict != attestor.Deny {
				t.Fatalf("%s (verdict %s): %s", f.Status, r.Verdict, f.Message)
			}
			if !strings.Contains(f.Message, tt.found) || !strings.Contains(f.Fix, tt.fix) || !strings.Contains(f.Message, "; required: ") {
				t.Errorf("found %q, want %q\nfix %q, want %q", f.Message, tt.found, f.Fix, tt.fix)
			}
		})
	}
}

func TestInvoker(t *testing.T) {
	const agent = "serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com"
	iap := []string{"    run.googleapis.com/ingress:", "    run.googleapis.com/iap-enabled: 'true'\n    run.googleapis.com/ingress:"}
	open := []string{"ingress: internal-and-cloud-load-balancing", "ingress: all"}
	for _, tt := range []struct {
		name, members, role string
		edits               []string
		want                attestor.Status
	}{
		{"named caller", `"user:a@acme.example"`, "roles/run.invoker", nil, attestor.StatusPass},
		{"allUsers", `"user:a@acme.example", "allUsers"`, "roles/run.invoker", nil, attestor.StatusDeny},
		{"allAuthenticatedUsers", `"allAuthenticatedUsers"`, "roles/run.invoker", nil, attestor.StatusDeny},
		{"another case", `"ALLUSERS"`, "roles/run.invoker", nil, attestor.StatusDeny},
		{"public by a hostile role", `"allUsers"`, "x; rm -rf ~", nil, attestor.StatusDeny},
		{"public by another role", `"allUsers"`, "roles/run.admin", nil, attestor.StatusDeny},
		{"IAP with its agent", `"` + agent + `"`, "roles/run.invoker", iap, attestor.StatusPass},
		{"IAP without its agent", `"user:a@acme.example"`, "roles/run.invoker", iap, attestor.StatusDeny},
		{"IAP, the agent with another role", `"` + agent + `"`, "roles/run.viewer", iap, attestor.StatusDeny},
		{"IAP, an agent's double", `"serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com.evil.example"`, "roles/run.invoker", iap, attestor.StatusDeny},
		{"older IAP, restricted", `"allUsers"`, "roles/run.invoker", iap, attestor.StatusWarn},
		{"older IAP, open", `"allUsers"`, "roles/run.invoker", append(slices.Clone(iap), open...), attestor.StatusDeny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := whole(t, replace(t, sample(t, "hardened.yaml"), tt.edits...))
			in.IAM[0].Text = []byte(`{"bindings": [{"role": "` + tt.role + `", "members": [` + tt.members + `]}]}`)
			f := finding(t, mustJudge(t, builtin(t, "hipaa"), nil, in), "INVOKER_AUTH")
			if f.Status != tt.want || strings.Contains(f.Fix, "rm -rf") {
				t.Errorf("%s, want %s: %s", f.Status, tt.want, f.Message)
			}
		})
	}
}

func TestLeastPrivilege(t *testing.T) {
	for role, want := range map[string]attestor.Status{
		"roles/owner": attestor.StatusDeny, "roles/editor": attestor.StatusDeny, "roles/viewer": attestor.StatusDeny, "roles/writer": attestor.StatusDeny,
		"roles/secretmanager.secretAccessor": attestor.StatusPass,
	} {
		in := whole(t, sample(t, "hardened.yaml"))
		in.ProjectIAM[0].Text = []byte("bindings:\n- role: " + role + "\n  members: ['serviceAccount:API@acme.iam.gserviceaccount.com']\netag: x\n")
		if f := finding(t, mustJudge(t, builtin(t, "hipaa"), nil, in), "LEAST_PRIVILEGE"); f.Status != want {
			t.Errorf("%s: %s, want %s: %s", role, f.Status, want, f.Message)
		}
	}
}

// TestMissingEvidence skips, saying what would give it, and is an error in strict.
func TestMissingEvidence(t *testing.T) {
	bare := posture.Input{Definitions: []posture.Source{source(replace(t, sample(t, "hardened.yaml"),
		"    cloud.googleapis.com/location: us-central1\n", "    team: a\n",
		"  - latestRevision: true", "  - revisionName: api-00001-old"))}}
	for profile, want := range map[string]attestor.Status{"hipaa": attestor.StatusSkipped, "strict": attestor.StatusError} {
		r := mustJudge(t, builtin(t, profile), nil, bare)
		for rule, give := range map[string]string{
			"REGION_APPROVED": "--region", "INVOKER_AUTH": "--iam", "LEAST_PRIVILEGE": "--project-iam",
			"IMAGE_ATTESTED": "--attestor", "REVISION_JUDGED": "--to-latest",
		} {
			if f := finding(t, r, rule); f.Status != want || !strings.Contains(f.Fix, give) {
				t.Errorf("%s %s: %s, want %s; fix %q", profile, rule, f.Status, want, f.Fix)
			}
		}
		if want := map[string]attestor.Outcome{"hipaa": attestor.Pass, "strict": attestor.Undecided}[profile]; r.Verdict != want {
			t.Errorf("%s: verdict %s, want %s", profile, r.Verdict, want)
		}
	}
	for _, text := range []string{
		sample(t, "hardened.yaml") + "status:\n  latestCreatedRevisionName: api-00008-new\n  latestReadyRevisionName: api-00007-old\n",
		replace(t, sample(t, "hardened-v2.json"), `"launchStage": "GA"`, `"latestCreatedRevision": "api-00008-new", "latestReadyRevision": "api-00007-old"`),
		replace(t, sample(t, "hardened-v2.json"), `"launchStage": "GA"`, `"latestCreatedRevision": "api-00008-new"`),
	} {
		if f := finding(t, mustJudge(t, builtin(t, "strict"), nil, posture.Input{
			Definitions: []posture.Source{source(text)}}), "REVISION_JUDGED"); f.Status != attestor.StatusError {
			t.Errorf("a revision that is not ready: %s", f.Status)
		}
	}
	spelt := replace(t, sample(t, "hardened-v2.json"), "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "internal")
	if f := finding(t, mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{
		Definitions: []posture.Source{source(spelt)}}), "INGRESS_RESTRICTED"); f.Status != attestor.StatusDeny {
		t.Errorf("a value that the API does not know: %s", f.Status)
	}
	in := bare
	in.Region = "us-east1"
	if f := finding(t, mustJudge(t, builtin(t, "hipaa"), nil, in), "REGION_APPROVED"); f.Status != attestor.StatusPass {
		t.Errorf("--region: %s", f.Status)
	}
	open := replace(t, string(bare.Definitions[0].Text), "ingress: internal-and-cloud-load-balancing", "ingress: all",
		"default-url-disabled: 'true'", "default-url-disabled: 'false'")
	if f := finding(t, mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{
		source(open)}}), "DEFAULT_URL_DISABLED"); f.Status != attestor.StatusError {
		t.Errorf("whether a load balancer fronts: %s", f.Status)
	}
}

func TestImageAttested(t *testing.T) {
	two := replace(t, sample(t, "hardened.yaml"), "      serviceAccountName:", "      - image: "+digestImage+"\n        name: twin\n      serviceAccountName:")
	for _, tt := range []struct {
		name string
		a    *attested
		want attestor.Status
	}{
		{"attested", &attested{answer: true}, attestor.StatusPass},
		{"not attested", &attested{}, attestor.StatusDeny},
		{"down", &attested{err: errors.New("secret detail")}, attestor.StatusError},
		{"down, and yes", &attested{answer: true, err: errors.New("secret detail")}, attestor.StatusError},
	} {
		f := finding(t, mustJudge(t, builtin(t, "baseline"), tt.a, whole(t, two)), "IMAGE_ATTESTED")
		if f.Status != tt.want || strings.Contains(f.Message, "secret detail") {
			t.Errorf("%s: %s, want %s: %s", tt.name, f.Status, tt.want, f.Message)
		}
		if tt.a.asked != 1 {
			t.Errorf("%s: asked %d times about one image", tt.name, tt.a.asked)
		}
	}
	// One deny outweighs an error.
	mixed := replace(t, two, "- image: "+digestImage, "- image: debian:12")
	if f := finding(t, mustJudge(t, builtin(t, "baseline"), &attested{err: errors.New("down")}, whole(t, mixed)),
		"IMAGE_ATTESTED"); f.Status != attestor.StatusDeny {
		t.Errorf("a tag beside an outage: %s", f.Status)
	}
}

// TestAttestedIsNotTold: what a caller may not know of is missing evidence.
func TestAttestedIsNotTold(t *testing.T) {
	r := mustJudge(t, builtin(t, "hipaa"), &attested{answer: true,
		err: &attestor.Error{Kind: attestor.Forbidden, Msg: "no"}}, whole(t, sample(t, "hardened.yaml")))
	if f := finding(t, r, "IMAGE_ATTESTED"); f.Status != attestor.StatusSkipped ||
		!strings.Contains(f.Message, "may not look up attestations in us-docker.pkg.dev") {
		t.Errorf("%s: %s", f.Status, f.Message)
	}
	r = mustJudge(t, builtin(t, "strict"), &attested{answer: true,
		err: &attestor.Error{Kind: attestor.Forbidden, Msg: "no"}}, whole(t, sample(t, "hardened.yaml")))
	if f := finding(t, r, "IMAGE_ATTESTED"); f.Status != attestor.StatusError {
		t.Errorf("%s: %s", f.Status, f.Message)
	}
}
