package deploy_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// An applied says where a control stands: a file under deploy/, and what must
// stand in it.
type applied struct{ file, want string }

const (
	tfService = "terraform/modules/service/main.tf"
	tfInputs  = "terraform/modules/service/variables.tf"
	tfEdge    = "terraform/modules/edge/main.tf"
	tfArmor   = "terraform/modules/edge/armor.tf"
	tfNetwork = "terraform/modules/network/main.tf"
	tfSigning = "terraform/modules/signing/main.tf"
	tfRules   = "terraform/modules/guardrails/main.tf"
	oneMain   = "terraform/examples/one-project/main.tf"
	yamlGate  = "cloudrun/gate.yaml"
	yamlEvent = "cloudrun/gate-events.yaml"
	script    = "gcloud.sh"
)

// serviceControls are those of a service definition, by the code of the rule
// that judges them in any service.
func serviceControls() map[string][]applied {
	return map[string][]applied{
		"REGION_APPROVED":           {{tfInputs, `contains\(\["us-central1", "us-east1", "us-east4", "us-west1", "us-west2"\]`}, {yamlGate, `cloud\.googleapis\.com/location: us-east1`}},
		"INVOKER_AUTH":              {{tfService, `invoker_iam_disabled = false`}, {tfInputs, `!contains\(var\.invokers, "allUsers"\)`}, {yamlGate, `invoker-iam-disabled: "false"`}, {yamlEvent, `invoker-iam-disabled: "false"`}},
		"INGRESS_RESTRICTED":        {{oneMain, `INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER`}, {oneMain, `INGRESS_TRAFFIC_INTERNAL_ONLY`}, {yamlGate, `ingress: internal-and-cloud-load-balancing`}, {yamlEvent, `ingress: internal\n`}},
		"DEFAULT_URL_DISABLED":      {{oneMain, `default_url_disabled = true`}, {yamlGate, `default-url-disabled: "true"`}, {yamlEvent, `default-url-disabled: "false"`}},
		"DEDICATED_SERVICE_ACCOUNT": {{tfService, `service_account += var\.service_account`}, {yamlGate, `serviceAccountName: gate-api@`}, {yamlEvent, `serviceAccountName: gate-events@`}},
		"LEAST_PRIVILEGE":           {{"terraform/modules/identities/main.tf", `roles/cloudsql\.client`}, {script, `roles/cloudkms\.signerVerifier`}}, // and TestTerraformRolesAreJustified
		"VPC_EGRESS":                {{tfService, `vpc_access \{`}, {yamlGate, `network-interfaces:`}, {yamlEvent, `network-interfaces:`}},
		"STATIC_EGRESS_IP":          {{tfService, `egress += "ALL_TRAFFIC"`}, {tfNetwork, `nat_ip_allocate_option += "MANUAL_ONLY"`}, {yamlGate, `vpc-access-egress: all-traffic`}, {script, `--nat-external-ip-pool gate-egress`}},
		"SECRETS_BY_REFERENCE":      {{"terraform/modules/service/secrets.tf", `google_secret_manager_secret_version`}, {yamlGate, `secretName: gate-database`}},
		"SECRETS_AS_FILES":          {{tfService, `volume_mounts`}, {yamlGate, `mountPath: /etc/attestor/database`}},
		"SECRET_VERSION_PINNED":     {{tfService, `version = volumes\.value\.version`}, {yamlGate, `\{key: "1", path: dsn\}`}},
		"MIN_INSTANCES":             {{tfService, `min_instance_count`}, {yamlGate, `minScale: "1"`}, {yamlEvent, `minScale: "1"`}},
		"MAX_INSTANCES":             {{tfService, `max_instance_count`}, {yamlGate, `maxScale: "10"`}, {yamlEvent, `maxScale: "10"`}},
		"RESOURCE_LIMITS":           {{tfService, `limits = \{ cpu = "1", memory = "1Gi" \}`}, {yamlGate, `limits: \{cpu: "1", memory: 1Gi\}`}},
		"TIMEOUT_BOUNDED":           {{tfService, `timeout += "60s"`}, {yamlGate, `timeoutSeconds: 60\n`}},
		"CONCURRENCY_SET":           {{tfService, `max_instance_request_concurrency = 80`}, {yamlGate, `containerConcurrency: 80`}},
		"IMAGE_BY_DIGEST":           {{tfInputs, `@sha256:\[0-9a-f\]\{64\}\$`}, {yamlGate, `attestor@sha256:`}, {script, `is not named by digest`}},
		"IMAGE_ATTESTED":            {{oneMain, `module "admission"`}, {"../docs/rollout.md", `(?m)^## .*itself`}},
		"BINARY_AUTHORIZATION":      {{tfService, `use_default = true`}, {yamlGate, `binary-authorization: default`}, {yamlEvent, `binary-authorization: default`}},
		"CMEK":                      {{tfService, `encryption_key += var\.kms_key`}, {oneMain, `module "encryption"`}, {script, `cryptoKeyEncrypterDecrypter`}, {yamlGate, `encryption-key: projects/`}, {yamlEvent, `encryption-key: projects/`}},
		"KEY_REVOCATION":            {{yamlGate, `post-key-revocation-action-type: prevent-new`}, {yamlEvent, `post-key-revocation-action-type: prevent-new`}},
		"ACCOUNT_REACH":             {{"terraform/modules/service/secrets.tf", `google_secret_manager_secret_iam_member`}, {tfSigning, `google_kms_crypto_key_iam_member`}}, // and TestTerraformRolesAreJustified
		"DATABASE_REGION":           {{yamlGate, `acme-gate:us-east1:gate`}, {script, `sql instances create "\$DATABASE" --region "\$REGION"`}},
		"NETWORK_OWN":               {{tfNetwork, `resource "google_compute_network"`}, {yamlGate, `"network":"gate"`}, {script, `compute networks create gate`}},
		"REVISION_JUDGED":           {{tfService, `TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST`}, {yamlGate, `percent: 100, latestRevision: true`}},
		"PROBES":                    {{tfService, `startup_probe \{`}, {tfService, `liveness_probe \{`}, {yamlGate, `startupProbe:`}, {yamlGate, `livenessProbe:`}},
	}
}

// otherControls stand outside the definition of a service.
func otherControls() map[string][]applied {
	return map[string][]applied{
		"load balancer and serverless NEG":            {{tfEdge, `network_endpoint_type = "SERVERLESS"`}, {tfEdge, `google_compute_global_forwarding_rule`}, {script, `--network-endpoint-type serverless`}},
		"custom domain with TLS":                      {{tfEdge, `google_compute_managed_ssl_certificate`}, {tfEdge, `TLS_1_2`}, {script, `--min-tls-version 1\.2`}},
		"Cloud Armor: SQL injection":                  {{tfArmor, `sqli-v33-stable`}, {script, `sqli-v33-stable`}},
		"Cloud Armor: cross-site scripting":           {{tfArmor, `xss-v33-stable`}, {script, `xss-v33-stable`}},
		"Cloud Armor: ban on the pages' host":         {{tfArmor, `(?s)rate_based_ban.*ban_duration_sec = 600.*count += 100\s+interval_sec = 60`}, {script, `--action rate-based-ban --rate-limit-threshold-count 100`}},
		"Cloud Armor: throttle of the API by address": {{tfArmor, `(?s)action += "throttle".*exceed_action +=\s*"deny\(429\)".*enforce_on_key = "IP"`}, {script, `--action throttle`}},
		"Cloud Armor: policies are no attack":         {{tfArmor, `!request\.path\.matches\('\^/v1/\(simulate\|posture\)\$'\)`}, {script, `simulate\|posture`}},
		"internal HTTPS load balancer":                {{"terraform/modules/internal/main.tf", `load_balancing_scheme = "INTERNAL_MANAGED"`}},
		"Private Google Access":                       {{tfNetwork, `private_ip_google_access = true`}, {tfNetwork, `199\.36\.153\.8`}, {script, `--enable-private-ip-google-access`}},
		"Shared VPC":                                  {{tfNetwork, `roles/compute\.networkUser`}},
		"connector sizing":                            {{tfNetwork, `(?s)min_instances.*max_instances.*machine_type`}},
		"grants: run.invoker":                         {{tfService, `roles/run\.invoker`}, {script, `roles/run\.invoker`}},
		"grants: cloudsql.client":                     {{"terraform/modules/identities/main.tf", `roles/cloudsql\.client`}, {script, `cloudsql\.client`}},
		"grants: secretmanager.secretAccessor":        {{"terraform/modules/service/secrets.tf", `roles/secretmanager\.secretAccessor`}, {script, `roles/secretmanager\.secretAccessor`}},
		"grants: cloudtrace.agent":                    {{"terraform/modules/identities/main.tf", `roles/cloudtrace\.agent`}, {script, `cloudtrace\.agent`}},
		"grants: findings":                            {{"terraform/modules/registry/main.tf", `roles/containeranalysis\.occurrences\.viewer`}, {script, `roles/containeranalysis\.occurrences\.viewer`}},
		"grants: images":                              {{"terraform/modules/registry/main.tf", `roles/artifactregistry\.reader`}, {script, `roles/artifactregistry\.reader`}},
		"grants: attestations":                        {{tfSigning, `roles/containeranalysis\.occurrences\.editor`}, {script, `roles/containeranalysis\.occurrences\.editor`}},
		"grants: note":                                {{tfSigning, `roles/containeranalysis\.notes\.attacher`}, {tfSigning, `roles/containeranalysis\.notes\.occurrences\.viewer`}, {script, `roles/containeranalysis\.notes\.attacher`}},
		"grants: attestor":                            {{tfSigning, `roles/binaryauthorization\.attestorsViewer`}, {tfSigning, `roles/binaryauthorization\.attestorsVerifier`}, {script, `attestorsViewer attestorsVerifier`}},
		"grants: key":                                 {{tfSigning, `roles/cloudkms\.signerVerifier`}, {script, `roles/cloudkms\.signerVerifier`}},
		"grants: ID token in a build, on itself":      {{"terraform/modules/identities/main.tf", `roles/iam\.serviceAccountOpenIdTokenCreator`}, {script, `roles/iam\.serviceAccountOpenIdTokenCreator`}},
		"TLS of the database":                         {{"terraform/modules/database/main.tf", `ssl_mode += "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"`}, {script, `--ssl-mode TRUSTED_CLIENT_CERTIFICATE_REQUIRED`}},
		"private address of the database":             {{"terraform/modules/database/main.tf", `ipv4_enabled += false`}, {script, `--no-assign-ip`}},
		"Identity-Aware Proxy":                        {{tfEdge, `(?s)iap \{\s+enabled = true`}, {tfEdge, `gcp-sa-iap\.iam`}, {"cloudrun/gate/attestor.yaml", `iapAudience:`}, {script, `--iap enabled`}},
		"Workload Identity Federation":                {{"terraform/modules/federation/main.tf", `(?s)oidc \{.*aws \{.*saml \{`}},
		"VPC Service Controls":                        {{tfRules, `google_access_context_manager_service_perimeter`}},
		"organisation policy: ingress":                {{tfRules, `run\.allowedIngress`}},
		"organisation policy: VPC egress":             {{tfRules, `run\.allowedVPCEgress`}},
		"organisation policy: Binary Authorization":   {{tfRules, `run\.allowedBinaryAuthorizationPolicies`}},
		"organisation policy: exception by tag":       {{tfRules, `resource\.matchTagId`}},
		"Binary Authorization: attestation required":  {{"terraform/modules/admission/main.tf", `evaluation_mode +=\s*"REQUIRE_ATTESTATION"`}, {script, `evaluationMode: "REQUIRE_ATTESTATION"`}},
		"Binary Authorization: allowlist":             {{"terraform/modules/admission/main.tf", `admission_whitelist_patterns`}, {script, `admissionWhitelistPatterns`}},
		"Binary Authorization: dry run first":         {{"terraform/modules/admission/main.tf", `(?s)variable "enforce".*default += false`}, {script, `:-DRYRUN_AUDIT_LOG_ONLY`}},
		"Binary Authorization: break-glass drill":     {{"../docs/rollout.md", `(?i)break-glass drill`}},
		"Artifact Analysis: scanning on push":         {{"terraform/modules/registry/main.tf", `vulnerability_scanning_config`}, {"terraform/modules/apis/main.tf", `containerscanning\.googleapis\.com`}, {script, `containerscanning\.googleapis\.com`}},
		"Artifact Analysis: on demand":                {{"terraform/modules/apis/main.tf", `ondemandscanning\.googleapis\.com`}, {script, `ondemandscanning\.googleapis\.com`}},
		"base images":                                 {{"policies/bases/google-managed.yaml", `marketplace\.gcr\.io/google`}, {"policies/bases/distroless.yaml", `distroless`}},
		"two services: events are internal":           {{oneMain, `module "gate_events"`}, {yamlEvent, `name: gate-events`}},
		"two services: custom audience":               {{tfService, `custom_audiences`}, {yamlGate, `custom-audiences`}},
		"two services: trust in the platform":         {{"cloudrun/gate-events/attestor.yaml", `unsafeTrustPlatform: true`}},
		"two services: CPU outside requests":          {{tfService, `cpu_idle +=\s*false`}, {yamlGate, `cpu-throttling: "false"`}, {yamlEvent, `cpu-throttling: "false"`}},
		"two services: wait below the time-out":       {{"cloudrun/gate/attestor.yaml", `maxWait: 45s`}},
		"two services: how a policy takes effect":     {{"../docs/rollout.md", `(?m)^## .*[Pp]olicy`}},
		"two services: bootstrap of the gate":         {{"../docs/rollout.md", `(?m)^## .*itself`}},
		"container: distroless, numeric, by digest":   {{"../Dockerfile", `(?s)distroless/static.*@sha256:.*USER 65532:65532`}},
		"container: nothing secret in the build":      {{"../.dockerignore", `(?m)^\.git`}},
		"two services: roots of signatures":           {{tfService, `google_secret_manager_secret\.file`}, {yamlGate, `mountPath: /etc/attestor/trust`}, {yamlEvent, `mountPath: /etc/attestor/trust`}, {"cloudrun/gate/attestor.yaml", `trustedRoot: /etc/attestor/trust/trusted_root\.json`}},
		"two services: one hash of a caller":          {{tfService, `var\.hash_key`}, {oneMain, `hash_key +=`}, {yamlGate, `secretName: gate-hash`}, {yamlEvent, `secretName: gate-hash`}, {"gcloud.sh", `secrets create gate-hash`}, {"cloudrun/gate/attestor.yaml", `hashKey: /etc/attestor/hash/key`}, {"cloudrun/gate-events/attestor.yaml", `hashKey: /etc/attestor/hash/key`}},
		"dead letters":                                {{"terraform/modules/events/main.tf", `dead_letter_policy`}, {script, `--dead-letter-topic`}},
		"push and schedule with a token":              {{"terraform/modules/events/main.tf", `(?s)oidc_token.*oidc_token`}, {script, `--push-auth-service-account`}, {script, `--oidc-service-account-email`}},
		"build trigger":                               {{"terraform/modules/build/main.tf", `google_cloudbuild_trigger`}},
		"dashboard and alerts":                        {{"terraform/modules/monitoring/main.tf", `alerts\.yaml`}, {"terraform/modules/monitoring/main.tf", `dashboard\.json`}},
		"log in to the database without a password":   {{"terraform/modules/database/main.tf", `CLOUD_IAM_SERVICE_ACCOUNT`}, {tfService, `--auto-iam-authn`}, {yamlGate, `--auto-iam-authn`}, {script, `cloud_iam_service_account`}},
		"key that cannot be destroyed by a slip":      {{tfSigning, `prevent_destroy = true`}, {tfSigning, `protection_level = "HSM"`}, {script, `--protection-level hsm`}},
		"the record's log: key and copy":              {{"terraform/modules/log/main.tf", `EC_SIGN_ED25519`}, {"terraform/modules/log/main.tf", `(?s)google_storage_bucket.*enabled = true`}, {oneMain, `module "log"`}, {script, `ec-sign-ed25519`}, {script, `--versioning`}, {"cloudrun/gate/attestor.yaml", `bucket: gs://`}, {"cloudrun/gate-events/attestor.yaml", `bucket: gs://`}},
		"grants: the copy of the log":                 {{"terraform/modules/log/main.tf", `(?s)objectViewer.*objectCreator.*objectUser.*/checkpoint`}, {script, `(?s)objectViewer.*objectCreator.*objectUser.*/checkpoint`}},
		"never sees everyone's traffic: pages by IAP": {{tfEdge, `default_service = google_compute_backend_service\.pages\.id`}},
	}
}

// judgedInPlans are the rules about what stands around services in a Terraform
// plan, each with the control that it judges.
func judgedInPlans() map[string]string {
	return map[string]string{
		"TLS_BOUNDED":           "custom domain with TLS",
		"CLOUD_ARMOR":           "load balancer and serverless NEG",
		"WAF_RULES":             "Cloud Armor: SQL injection",
		"RATE_LIMITED":          "Cloud Armor: throttle of the API by address",
		"IDENTITY_AWARE_PROXY":  "Identity-Aware Proxy",
		"PRIVATE_GOOGLE_ACCESS": "Private Google Access",
		"CONNECTOR_SIZED":       "connector sizing",
		"DATABASE_ENCRYPTED":    "TLS of the database",
		"DATABASE_PRIVATE":      "private address of the database",
		"NO_BASIC_ROLES":        "grants: cloudsql.client",
		"KEYLESS":               "Workload Identity Federation",
		"SERVICE_PERIMETER":     "VPC Service Controls",
		"ORGANIZATION_POLICIES": "organisation policy: ingress",
		"ADMISSION_POLICY":      "Binary Authorization: attestation required",
		"IMAGES_SCANNED":        "Artifact Analysis: scanning on push",
	}
}

// notEnabled are the controls that hold where a setting is not made, each with
// the setting that must stand nowhere.
func notEnabled() map[string][]applied {
	return map[string][]applied{
		"PRIVATE_SERVICE_CONNECT": {{tfEdge, `google_compute_service_attachment`}, {tfNetwork, `google_compute_service_attachment`}, {"terraform/modules/internal/main.tf", `google_compute_service_attachment`}},
		"BUILD_ACCOUNT":           {{tfService, `build_config`}, {yamlGate, `build-source-location`}, {yamlEvent, `build-source-location`}},
		"NFS_PRIVATE":             {{tfService, `(?m)^\s*nfs\b`}, {yamlGate, `nfs:`}, {yamlEvent, `nfs:`}},
		"MOUNTS_READ_ONLY":        {{tfService, `(?m)^\s*gcs\b`}, {yamlGate, `gcsfuse`}, {yamlEvent, `gcsfuse`}},
		"SHELL_DISABLED":          {{tfService, `ssh_enabled\s*=\s*true`}, {yamlGate, `secure-session-agent`}, {yamlEvent, `secure-session-agent`}},
	}
}

// TestEveryControlIsApplied is the list of the controls and where each is.
func TestEveryControlIsApplied(t *testing.T) {
	judged := map[string]bool{}
	for _, r := range posture.Rules() {
		if settings := notEnabled()[r.ID]; settings != nil {
			checkAbsent(t, r.ID, settings)
			continue
		}
		if r.Build { // TestOwnDockerfilePassesPosture
			continue
		}
		if r.Plan {
			if otherControls()[judgedInPlans()[r.ID]] == nil {
				t.Errorf("posture judges %s in plans, which is not applied here", r.ID)
			}
			continue
		}
		judged[r.ID] = true
		if serviceControls()[r.ID] == nil {
			t.Errorf("posture judges %s, which is not applied here", r.ID)
		}
	}
	for control, places := range serviceControls() {
		if !judged[control] {
			t.Errorf("%s is applied here and judged by no rule", control)
		}
		check(t, control, places)
	}
	for control, places := range otherControls() {
		check(t, control, places)
	}
}

func checkAbsent(t *testing.T, control string, settings []applied) {
	t.Helper()
	for _, s := range settings {
		b, err := os.ReadFile(s.file)
		if err != nil {
			t.Errorf("%s: %v", control, err)
			continue
		}
		if regexp.MustCompile(s.want).Match(b) {
			t.Errorf("%s: %s has %s", control, s.file, s.want)
		}
	}
}

func check(t *testing.T, control string, places []applied) {
	t.Helper()
	if len(places) == 0 {
		t.Errorf("%s is applied nowhere", control)
	}
	for _, p := range places {
		b, err := os.ReadFile(p.file)
		if err != nil {
			t.Errorf("%s: %v", control, err)
			continue
		}
		if !regexp.MustCompile(p.want).Match(b) {
			t.Errorf("%s: %s lacks %s", control, p.file, p.want)
		}
	}
}

// TestOwnDockerfilePassesPosture judges the gate's own image as posture judges anyone's, strictly.
func TestOwnDockerfilePassesPosture(t *testing.T) {
	profile, ok := posture.Builtin("strict")
	if !ok {
		t.Fatal("no profile strict")
	}
	base := attestor.ApprovedBase{Name: "distroless", Repository: "gcr.io/distroless/static-debian13", Tags: []string{"nonroot"}}
	judge, err := posture.New(posture.Config{Profile: profile, Now: now, Bases: []attestor.ApprovedBase{base}})
	if err != nil {
		t.Fatal(err)
	}
	var in posture.Input
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		b, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		in.Definitions = append(in.Definitions, posture.Source{Name: name, Text: b})
	}
	r, err := judge.Judge(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Status != attestor.StatusPass {
			t.Errorf("%s %s: %s", f.Rule, f.Status, f.Message)
		}
	}
	if r.Verdict != attestor.Pass || len(r.Findings) < 10 {
		t.Errorf("%s, %d findings", r.Verdict, len(r.Findings))
	}
}

// TestServicesPassPosture judges both definitions as posture judges anyone's.
func TestServicesPassPosture(t *testing.T) {
	profile, ok := posture.Builtin("hipaa")
	if !ok {
		t.Fatal("no profile hipaa")
	}
	judge, err := posture.New(posture.Config{Profile: profile, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	// What deploy/ grants on each service and in the project.
	iam := map[string]string{
		"gate":        `{"bindings": [{"role": "roles/run.invoker", "members": ["serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com", "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"]}]}`,
		"gate-events": `{"bindings": [{"role": "roles/run.invoker", "members": ["serviceAccount:gate-pusher@acme-gate.iam.gserviceaccount.com"]}]}`,
	}
	project := `{"bindings": [{"role": "roles/cloudsql.client", "members": ["serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com", "serviceAccount:gate-events@acme-gate.iam.gserviceaccount.com"]}]}`
	for _, file := range []string{yamlGate, yamlEvent} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := nameOf(file)
		report, err := judge.Judge(t.Context(), posture.Input{
			Definitions: []posture.Source{{Name: file, Text: b}},
			IAM:         []posture.IAM{{Service: name, Source: posture.Source{Name: "iam.json", Text: []byte(iam[name])}}},
			ProjectIAM:  []posture.Source{{Name: "project.json", Text: []byte(project)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if report.Services != 1 {
			t.Errorf("%s: %d services judged", file, report.Services)
		}
		var passed int
		for _, f := range report.Findings {
			switch f.Status {
			case attestor.StatusPass:
				passed++
			case attestor.StatusSkipped:
				// The first needs the record of a gate that runs; the profile does not ask for the second. A rule about
				// what is not enabled here has nothing to judge: TestEveryControlIsApplied shows that it is absent.
				if !slices.Contains([]string{"IMAGE_ATTESTED", "STATIC_EGRESS_IP"}, f.Rule) && notEnabled()[f.Rule] == nil {
					t.Errorf("%s: %s skipped: %s", file, f.Rule, f.Message)
				}
			default:
				t.Errorf("%s: %s %s: %s", file, f.Rule, f.Status, f.Message)
			}
		}
		if passed < 15 {
			t.Errorf("%s: only %d rules passed", file, passed)
		}
	}
}
