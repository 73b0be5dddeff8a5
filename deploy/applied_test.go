package deploy_test

const (
	tfService  = "terraform/modules/service/main.tf"
	tfSecrets  = "terraform/modules/service/secrets.tf"
	tfInputs   = "terraform/modules/service/variables.tf"
	tfEdge     = "terraform/modules/edge/main.tf"
	tfArmor    = "terraform/modules/edge/armor.tf"
	tfInternal = "terraform/modules/internal/main.tf"
	tfNetwork  = "terraform/modules/network/main.tf"
	tfSigning  = "terraform/modules/signing/main.tf"
	tfRules    = "terraform/modules/guardrails/main.tf"
	tfPeople   = "terraform/modules/identities/main.tf"
	tfRegistry = "terraform/modules/registry/main.tf"
	tfAdmit    = "terraform/modules/admission/main.tf"
	tfApis     = "terraform/modules/apis/main.tf"
	tfDatabase = "terraform/modules/database/main.tf"
	tfEvents   = "terraform/modules/events/main.tf"
	tfLog      = "terraform/modules/log/main.tf"
	tfBuild    = "terraform/modules/build/main.tf"
	oneMain    = "terraform/examples/one-project/main.tf"
	yamlGate   = "cloudrun/gate.yaml"
	yamlEvent  = "cloudrun/gate-events.yaml"
	confGate   = "cloudrun/gate/attestor.yaml"
	confEvent  = "cloudrun/gate-events/attestor.yaml"
	script     = "gcloud.sh"

	// Addresses in the plans.
	gateService   = "module.gate.google_cloud_run_v2_service.gate"
	eventsService = "module.gate_events.google_cloud_run_v2_service.gate"
	apiArmor      = "module.edge.google_compute_security_policy.api"
	pagesArmor    = "module.edge.google_compute_security_policy.pages"

	// Members.
	planAPI      = "serviceAccount:gate-api@acme.iam.gserviceaccount.com"
	planEvents   = "serviceAccount:gate-events@acme.iam.gserviceaccount.com"
	planBuilder  = "serviceAccount:gate-builder@acme.iam.gserviceaccount.com"
	scriptAPI    = "serviceAccount:gate-api@demo.iam.gserviceaccount.com"
	scriptEvents = "serviceAccount:gate-events@demo.iam.gserviceaccount.com"
	scriptBuild  = "serviceAccount:gate-builder@demo.iam.gserviceaccount.com"
	scriptPubsub = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"

	noStatements = "!request.path.matches('^/v1/(simulate|posture)$') && "
	sqli         = "evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': 1})"
	xss          = "evaluatePreconfiguredWaf('xss-v33-stable', {'sensitivity': 1})"
	digests      = `.+@sha256:[0-9a-f]{64}`
)

// both is a control of both services in the first example's plan.
func both(path, want string) []applied {
	return []applied{planned(tfService, gateService, path, want), planned(tfService, eventsService, path, want)}
}

func join(lists ...[]applied) []applied {
	var out []applied
	for _, l := range lists {
		out = append(out, l...)
	}
	return out
}

// serviceControls are those of a service definition, by the code of the rule
// that judges them in any service.
func serviceControls() map[string][]applied {
	return map[string][]applied{
		"REGION_APPROVED": {
			refuses(tfInputs, "gate", `{"region": "europe-west1"}`, "not approved"), planned(tfInputs, gateService, "location", "us-east1"),
			inYAML(yamlGate, "metadata > labels > cloud.googleapis.com/location", "us-east1"),
		},
		"INVOKER_AUTH": join(both("invoker_iam_disabled", "false"), []applied{
			refuses(tfInputs, "gate", `{"callers": ["allUsers"]}`, "Everyone is not a caller"),
			refuses(tfInputs, "gate", `{"callers": ["allAuthenticatedUsers"]}`, "Everyone is not a caller"),
			annotated(yamlGate, "invoker-iam-disabled", "false"), annotated(yamlEvent, "invoker-iam-disabled", "false"),
		}),
		"INGRESS_RESTRICTED": {
			planned(oneMain, gateService, "ingress", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"),
			planned(oneMain, eventsService, "ingress", "INGRESS_TRAFFIC_INTERNAL_ONLY"),
			annotated(yamlGate, "ingress", "internal-and-cloud-load-balancing"), annotated(yamlEvent, "ingress", "internal"),
		},
		"DEFAULT_URL_DISABLED": {
			planned(oneMain, gateService, "default_uri_disabled", "true"), planned(oneMain, eventsService, "default_uri_disabled", "false"),
			annotated(yamlGate, "default-url-disabled", "true"), annotated(yamlEvent, "default-url-disabled", "false"),
		},
		"DEDICATED_SERVICE_ACCOUNT": {
			planned(tfService, gateService, "template.0.service_account", "gate-api@acme.iam.gserviceaccount.com"),
			planned(tfService, eventsService, "template.0.service_account", "gate-events@acme.iam.gserviceaccount.com"),
			inYAML(yamlGate, "spec > template > spec > serviceAccountName", "gate-api@acme-gate.iam.gserviceaccount.com"),
			inYAML(yamlEvent, "spec > template > spec > serviceAccountName", "gate-events@acme-gate.iam.gserviceaccount.com"),
		},
		// And TestTerraformRolesAreJustified.
		"LEAST_PRIVILEGE": {
			planned(tfPeople, "module.identities.google_project_iam_member.sql_client[\"gate\"]", "role", "roles/cloudsql.client"),
			granted("kms keys gate in gate", "roles/cloudkms.signerVerifier", scriptAPI, scriptEvents), granted("projects demo", "roles/editor"),
			granted("projects demo", "roles/owner"),
		},
		"VPC_EGRESS": {
			plannedAs(tfService, gateService, "template.0.vpc_access.0.network_interfaces.0.subnetwork",
				`<module\.network\.google_compute_subnetwork\.gate\.id>`),
			plannedAs(tfService, eventsService, "template.0.vpc_access.0.network_interfaces.0.network", `<module\.network\.google_compute_network\.gate\.id>`),
			revision(yamlGate, "run.googleapis.com/network-interfaces", `[{"network":"gate","subnetwork":"gate"}]`),
			revision(yamlEvent, "run.googleapis.com/network-interfaces", `[{"network":"gate","subnetwork":"gate"}]`),
		},
		"STATIC_EGRESS_IP": join(both("template.0.vpc_access.0.egress", "ALL_TRAFFIC"), []applied{
			planned(tfNetwork, "module.network.google_compute_router_nat.gate", "nat_ip_allocate_option", "MANUAL_ONLY"),
			planned(tfNetwork, "module.network.google_compute_router_nat.gate", "nat_ips.0", "<module.network.google_compute_address.egress.self_link>"),
			revision(yamlGate, "run.googleapis.com/vpc-access-egress", "all-traffic"),
			revision(yamlEvent, "run.googleapis.com/vpc-access-egress", "all-traffic"),
			made("compute routers nats gate in gate", "nat-external-ip-pool", "gate-egress"),
		}),
		"SECRETS_BY_REFERENCE": join(both("template.0.containers.0.env.0.name", "GOMEMLIMIT"), both("template.0.containers.0.env.1.name", ""),
			[]applied{
				planned(tfSecrets, gateService, "template.0.volumes.1.secret.0.secret", "gate-database"),
				inYAML(yamlGate, "spec > template > spec > volumes > 3 > secret > secretName", "gate-database"), container(yamlGate, "env > 1", ""),
				container(yamlEvent, "env > 1", ""),
			}),
		"SECRETS_AS_FILES": {
			planned(tfService, gateService, "template.0.containers.0.volume_mounts.1.mount_path", "/etc/attestor/database"),
			container(yamlGate, "volumeMounts > 3 > mountPath", "/etc/attestor/database"),
			container(yamlEvent, "volumeMounts > 3 > mountPath", "/etc/attestor/database"),
		},
		"SECRET_VERSION_PINNED": {
			planned(tfService, gateService, "template.0.volumes.0.secret.0.items.0.version", "7"),
			planned(tfService, gateService, "template.0.volumes.3.secret.0.items.0.version", "1"),
			inYAML(yamlGate, "spec > template > spec > volumes > 3 > secret > items > 0 > key", "1"),
		},
		"MIN_INSTANCES": join(both("template.0.scaling.0.min_instance_count", "1"), []applied{
			revision(yamlGate, "autoscaling.knative.dev/minScale", "1"), revision(yamlEvent, "autoscaling.knative.dev/minScale", "1"),
		}),
		"MAX_INSTANCES": join(both("template.0.scaling.0.max_instance_count", "10"), []applied{
			revision(yamlGate, "autoscaling.knative.dev/maxScale", "10"), revision(yamlEvent, "autoscaling.knative.dev/maxScale", "10"),
		}),
		"RESOURCE_LIMITS": join(both("template.0.containers.0.resources.0.limits.cpu", "1"),
			both("template.0.containers.0.resources.0.limits.memory", "1Gi"), []applied{
				container(yamlGate, "resources > limits > cpu", "1"), container(yamlGate, "resources > limits > memory", "1Gi"),
			}),
		"TIMEOUT_BOUNDED": join(both("template.0.timeout", "60s"), []applied{inYAML(yamlGate, "spec > template > spec > timeoutSeconds", "60")}),
		"CONCURRENCY_SET": join(both("template.0.max_instance_request_concurrency", "80"), []applied{
			inYAML(yamlGate, "spec > template > spec > containerConcurrency", "80"),
		}),
		"IMAGE_BY_DIGEST": {
			refuses(tfInputs, "gate", `{"image": "us-docker.pkg.dev/acme/prod/attestor:v1"}`, "named by digest"),
			refuses(tfInputs, "gate", `{"proxy_image": "gcr.io/proxy:v1"}`, "named by digest"),
			refuses(tfInputs, "gate", `{"collector_image": "gcr.io/collector:v1"}`, "named by digest"),
			container(yamlGate, "image", "~"+digests), container(yamlEvent, "image", "~"+digests),
			scriptRefuses("IMAGE=us-docker.pkg.dev/demo/prod/gate:v1", "is not named by digest"),
			scriptRefuses("PROXY_IMAGE=gcr.io/proxy:v1", "is not named by digest"),
		},
		"IMAGE_ATTESTED": {
			planned(oneMain, "module.admission.google_binary_authorization_policy.policy", "default_admission_rule.0.require_attestations_by.0",
				"projects/acme/attestors/gate"),
			headed("../docs/rollout.md", "itself"),
		},
		"BINARY_AUTHORIZATION": join(both("binary_authorization.0.use_default", "true"),
			both("binary_authorization.0.breakglass_justification", ""), []applied{
				annotated(yamlGate, "binary-authorization", "default"), annotated(yamlEvent, "binary-authorization", "default"),
				annotated(yamlGate, "binary-authorization-breakglass", ""), annotated(yamlEvent, "binary-authorization-breakglass", ""),
			}),
		"CMEK": join(both("template.0.encryption_key", "projects/acme/locations/us-east1/keyRings/run/cryptoKeys/gate"), []applied{
			planned(oneMain, "module.encryption[0].google_kms_crypto_key.gate", "purpose", "ENCRYPT_DECRYPT"),
			granted("kms keys gate in run", "roles/cloudkms.cryptoKeyEncrypterDecrypter",
				"serviceAccount:service-123456789012@serverless-robot-prod.iam.gserviceaccount.com"),
			revision(yamlGate, "run.googleapis.com/encryption-key", "~projects/.+"),
			revision(yamlEvent, "run.googleapis.com/encryption-key", "~projects/.+"),
		}),
		"KEY_REVOCATION": {
			revision(yamlGate, "run.googleapis.com/post-key-revocation-action-type", "prevent-new"),
			revision(yamlEvent, "run.googleapis.com/post-key-revocation-action-type", "prevent-new"),
		},
		// And TestTerraformRolesAreJustified.
		"ACCOUNT_REACH": {
			planned(tfSecrets, "module.gate.google_secret_manager_secret_iam_member.reader[\"database\"]", "member", planAPI),
			planned(tfSigning, "module.signing.google_kms_crypto_key_iam_member.signer[\"gate\"]", "crypto_key_id",
				"projects/acme/locations/us-east1/keyRings/gate/cryptoKeys/gate"),
		},
		"DATABASE_REGION": {
			inYAML(yamlGate, "spec > template > spec > containers > 1 > args > 7", "acme-gate:us-east1:gate"),
			planned(tfService, gateService, "template.0.containers.1.args.7", "acme:us-east1:gate"), made("sql instances gate", "region", "us-west1"),
		},
		"NETWORK_OWN": {
			planned(tfNetwork, "module.network.google_compute_network.gate", "auto_create_subnetworks", "false"),
			revision(yamlGate, "run.googleapis.com/network-interfaces", `[{"network":"gate","subnetwork":"gate"}]`),
			made("compute networks gate", "subnet-mode", "custom"),
		},
		"REVISION_JUDGED": join(both("traffic.0.type", "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"), both("traffic.1.type", ""), []applied{
			inYAML(yamlGate, "spec > traffic > 0 > latestRevision", "true"), inYAML(yamlGate, "spec > traffic > 1", ""),
		}),
		"PROBES": join(both("template.0.containers.0.startup_probe.0.http_get.0.path", "/health"),
			both("template.0.containers.0.liveness_probe.0.http_get.0.path", "/health"), []applied{
				container(yamlGate, "startupProbe > httpGet > path", "/health"), container(yamlGate, "livenessProbe > httpGet > path", "/health"),
			}),
	}
}
