package deploy_test

// edgeControls stand between the Internet and the services.
func edgeControls() map[string][]applied {
	const (
		proxy = "module.edge.google_compute_target_https_proxy.edge"
		urls  = "module.edge.google_compute_url_map.edge"
		pages = "module.edge.google_compute_backend_service.pages"
		rules = "compute security-policies rules "
	)
	return map[string][]applied{
		"load balancer and serverless NEG": {
			planned(tfEdge, "module.edge.google_compute_region_network_endpoint_group.gate", "network_endpoint_type", "SERVERLESS"),
			planned(tfEdge, "module.edge.google_compute_region_network_endpoint_group.gate", "cloud_run.0.service", "gate"),
			planned(tfEdge, "module.edge.google_compute_global_forwarding_rule.edge", "target", "<"+proxy+".id>"),
			planned(tfEdge, "module.edge.google_compute_global_forwarding_rule.edge", "port_range", "443"),
			planned(tfEdge, "module.edge.google_compute_backend_service.api", "security_policy", "<"+apiArmor+".id>"),
			planned(tfEdge, pages, "security_policy", "<"+pagesArmor+".id>"),
			made("compute network-endpoint-groups gate", "network-endpoint-type", "serverless"),
			made("compute network-endpoint-groups gate", "cloud-run-service", "gate"),
			made("compute backend-services gate-api", "security-policy", "gate-api"),
			made("compute backend-services gate-pages", "security-policy", "gate-pages"),
		},
		"custom domain with TLS": {
			planned(tfEdge, "module.edge.google_compute_managed_ssl_certificate.edge", "managed.0.domains", "gate.acme.example gate-pages.acme.example"),
			planned(tfEdge, "module.edge.google_compute_ssl_policy.edge", "min_tls_version", "TLS_1_2"),
			planned(tfEdge, proxy, "ssl_policy", "<module.edge.google_compute_ssl_policy.edge.id>"),
			made("compute ssl-policies gate-edge", "min-tls-version", "1.2"),
			made("compute target-https-proxies gate-edge", "ssl-policy", "gate-edge"),
		},
		"Cloud Armor: SQL injection": {
			planned(tfArmor, apiArmor, "rule.0.action", "deny(403)"),
			planned(tfArmor, apiArmor, "rule.0.match.0.expr.0.expression", noStatements+sqli),
			planned(tfArmor, pagesArmor, "rule.0.action", "deny(403)"), planned(tfArmor, pagesArmor, "rule.0.match.0.expr.0.expression", sqli),
			made(rules+"1000 in gate-api", "action", "deny-403"), made(rules+"1000 in gate-api", "expression", noStatements+sqli),
			made(rules+"1000 in gate-pages", "action", "deny-403"), made(rules+"1000 in gate-pages", "expression", sqli),
		},
		"Cloud Armor: cross-site scripting": {
			planned(tfArmor, apiArmor, "rule.1.action", "deny(403)"),
			planned(tfArmor, apiArmor, "rule.1.match.0.expr.0.expression", noStatements+xss),
			planned(tfArmor, pagesArmor, "rule.1.action", "deny(403)"), planned(tfArmor, pagesArmor, "rule.1.match.0.expr.0.expression", xss),
			made(rules+"1001 in gate-api", "expression", noStatements+xss), made(rules+"1001 in gate-pages", "expression", xss),
		},
		"Cloud Armor: ban on the pages' host": {
			planned(tfArmor, pagesArmor, "rule.2.action", "rate_based_ban"),
			planned(tfArmor, pagesArmor, "rule.2.rate_limit_options.0.ban_duration_sec", "600"),
			planned(tfArmor, pagesArmor, "rule.2.rate_limit_options.0.rate_limit_threshold.0.count", "100"),
			planned(tfArmor, pagesArmor, "rule.2.rate_limit_options.0.rate_limit_threshold.0.interval_sec", "60"),
			made(rules+"2000 in gate-pages", "action", "rate-based-ban"), made(rules+"2000 in gate-pages", "rate-limit-threshold-count", "100"),
			made(rules+"2000 in gate-pages", "ban-duration-sec", "600"),
		},
		"Cloud Armor: throttle of the API by address": {
			planned(tfArmor, apiArmor, "rule.2.action", "throttle"),
			planned(tfArmor, apiArmor, "rule.2.rate_limit_options.0.exceed_action", "deny(429)"),
			planned(tfArmor, apiArmor, "rule.2.rate_limit_options.0.enforce_on_key", "IP"),
			planned(tfArmor, apiArmor, "rule.2.rate_limit_options.0.enforce_on_key_name", ""),
			planned(tfArmor, apiArmor, "rule.2.rate_limit_options.0.ban_duration_sec", ""),
			made(rules+"2000 in gate-api", "action", "throttle"), made(rules+"2000 in gate-api", "enforce-on-key", "ip"),
			made(rules+"2000 in gate-api", "exceed-action", "deny-429"),
			inYAML(confGate, "limits > callerRate", "20"), // each caller, by the gate itself
		},
		"Cloud Armor: policies are no attack": {
			planned(tfArmor, apiArmor, "rule.0.match.0.expr.0.expression", noStatements+sqli),
			made(rules+"1000 in gate-api", "expression", noStatements+sqli),
		},
		"internal HTTPS load balancer": {
			planned(tfInternal, "module.internal[0].google_compute_forwarding_rule.gate", "load_balancing_scheme", "INTERNAL_MANAGED"),
			planned(tfInternal, "module.internal[0].google_compute_region_target_https_proxy.gate", "ssl_policy",
				"<module.internal[0].google_compute_region_ssl_policy.gate.id>"),
			planned(tfInternal, "module.internal[0].google_compute_region_ssl_policy.gate", "min_tls_version", "TLS_1_2"),
		},
		"Identity-Aware Proxy": {
			planned(tfEdge, pages, "iap.0.enabled", "true"), planned(tfEdge, "module.edge.google_compute_backend_service.api", "iap.0.enabled", ""),
			plannedAs(tfEdge, "module.edge.google_cloud_run_v2_service_iam_member.iap", "member",
				`serviceAccount:service-[0-9]+@gcp-sa-iap\.iam\.gserviceaccount\.com`),
			inYAML(confGate, "identity > iapAudience", "~/projects/.+"), made("compute backend-services gate-pages", "iap", "enabled"),
		},
		"never sees everyone's traffic: pages by IAP": {
			planned(tfEdge, urls, "default_service", "<"+pages+".id>"),
			planned(tfEdge, urls, "path_matcher.0.default_service", "<module.edge.google_compute_backend_service.api.id>"),
		},
		"Private Google Access": {
			planned(tfNetwork, "module.network.google_compute_subnetwork.gate", "private_ip_google_access", "true"),
			planned(tfNetwork, "module.network.google_dns_record_set.run", "rrdatas", "199.36.153.8 199.36.153.9 199.36.153.10 199.36.153.11"),
			planned(tfNetwork, "module.network.google_dns_managed_zone.run", "visibility", "private"),
			made("compute networks subnets gate", "enable-private-ip-google-access", ""),
		},
		"Shared VPC": {alone(tfNetwork, "network", `{"project": "acme", "region": "us-east1", `+
			`"subnet_users": ["serviceAccount:a@acme.iam.gserviceaccount.com"]}`,
			`google_compute_subnetwork_iam_member.user["serviceAccount:a@acme.iam.gserviceaccount.com"]`, map[string]string{
				"role": "roles/compute.networkUser", "member": "serviceAccount:a@acme.iam.gserviceaccount.com", "subnetwork": "gate"})},
		"connector sizing": {alone(tfNetwork, "network",
			`{"project": "acme", "region": "us-east1", "connector": {"cidr": "10.8.0.0/28", "min": 2, "max": 4, "machine_type": "e2-micro"}}`,
			`google_vpc_access_connector.gate[0]`, map[string]string{"min_instances": "2", "max_instances": "4", "machine_type": "e2-micro"})},
	}
}

// grantControls are who may do what.
func grantControls() map[string][]applied {
	const signing = "module.signing."
	role := func(file, addr, role, member string) []applied {
		return []applied{planned(file, addr, "role", role), planned(file, addr, "member", member)}
	}
	agents := func(resource, role string) applied { return granted(resource, role, scriptAPI, scriptEvents) }
	return map[string][]applied{
		"grants: run.invoker": join(role(tfService, `module.gate.google_cloud_run_v2_service_iam_member.invoker["`+planBuilder+`"]`,
			"roles/run.invoker", planBuilder), []applied{
			granted("run services gate", "roles/run.invoker", scriptBuild, "serviceAccount:gate-oncall@demo.iam.gserviceaccount.com",
				"serviceAccount:gate-security@demo.iam.gserviceaccount.com", "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"),
			granted("run services gate-events", "roles/run.invoker", "serviceAccount:gate-pusher@demo.iam.gserviceaccount.com"),
		}),
		"grants: cloudsql.client": join(role(tfPeople, `module.identities.google_project_iam_member.sql_client["events"]`, "roles/cloudsql.client", planEvents),
			[]applied{agents("projects demo", "roles/cloudsql.client")}),
		"grants: secretmanager.secretAccessor": join(
			role(tfSecrets, `module.gate_events.google_secret_manager_secret_iam_member.reader["config"]`, "roles/secretmanager.secretAccessor", planEvents),
			[]applied{
				granted("secrets gate-database", "roles/secretmanager.secretAccessor", scriptAPI),
				granted("secrets gate-events-database", "roles/secretmanager.secretAccessor", scriptEvents),
				agents("secrets gate-hash", "roles/secretmanager.secretAccessor"), granted("projects demo", "roles/secretmanager.secretAccessor"),
			}),
		"grants: cloudtrace.agent": join(role(tfPeople, `module.identities.google_project_iam_member.trace["gate"]`, "roles/cloudtrace.agent", planAPI),
			[]applied{agents("projects demo", "roles/cloudtrace.agent")}),
		"grants: findings": join(role(tfRegistry, `module.registry.google_project_iam_member.scans["gate"]`,
			"roles/containeranalysis.occurrences.viewer", planAPI),
			[]applied{agents("projects demo", "roles/containeranalysis.occurrences.viewer")}),
		"grants: images": join(role(tfRegistry, `module.registry.google_artifact_registry_repository_iam_member.gate["gate"]`,
			"roles/artifactregistry.reader", planAPI),
			[]applied{agents("artifacts repositories prod", "roles/artifactregistry.reader"),
				granted("artifacts repositories prod", "roles/artifactregistry.writer", scriptBuild)}),
		"grants: attestations": join(role(tfSigning, signing+`google_project_iam_member.attestations["gate"]`,
			"roles/containeranalysis.occurrences.editor", planAPI),
			[]applied{agents("projects demo", "roles/containeranalysis.occurrences.editor")}),
		"grants: note": join(role(tfSigning, signing+`google_container_analysis_note_iam_member.attacher["gate"]`,
			"roles/containeranalysis.notes.attacher", planAPI),
			role(tfSigning, signing+`google_container_analysis_note_iam_member.reader["events"]`,
				"roles/containeranalysis.notes.occurrences.viewer", planEvents),
			[]applied{noteGrants("roles/containeranalysis.notes.attacher", scriptAPI, scriptEvents),
				noteGrants("roles/containeranalysis.notes.occurrences.viewer", scriptAPI,
					scriptEvents, "serviceAccount:service-123456789012@gcp-sa-binaryauthorization.iam.gserviceaccount.com")}),
		"grants: attestor": join(role(tfSigning, signing+`google_binary_authorization_attestor_iam_member.viewer["gate"]`,
			"roles/binaryauthorization.attestorsViewer", planAPI),
			role(tfSigning, signing+`google_binary_authorization_attestor_iam_member.verifier["gate"]`, "roles/binaryauthorization.attestorsVerifier", planAPI),
			[]applied{agents("container binauthz attestors gate", "roles/binaryauthorization.attestorsViewer"),
				agents("container binauthz attestors gate", "roles/binaryauthorization.attestorsVerifier")}),
		"grants: key": join(role(tfSigning, signing+`google_kms_crypto_key_iam_member.signer["events"]`, "roles/cloudkms.signerVerifier", planEvents),
			[]applied{agents("kms keys gate in gate", "roles/cloudkms.signerVerifier"), granted("projects demo", "roles/cloudkms.signerVerifier")}),
		"grants: ID token in a build, on itself": join(
			role(tfPeople, "module.identities.google_service_account_iam_member.builder_token", "roles/iam.serviceAccountOpenIdTokenCreator", planBuilder),
			[]applied{
				planned(tfPeople, "module.identities.google_service_account_iam_member.builder_token", "service_account_id",
					"projects/acme/serviceAccounts/gate-builder@acme.iam.gserviceaccount.com"),
				granted("iam service-accounts gate-builder", "roles/iam.serviceAccountOpenIdTokenCreator", scriptBuild),
				granted("iam service-accounts gate-oncall", "roles/iam.serviceAccountOpenIdTokenCreator", "group:oncall@demo.example"),
			}),
		"grants: the copy of the log": {
			planned(tfLog, `module.log.google_storage_bucket_iam_member.reader["gate"]`, "role", "roles/storage.objectViewer"),
			planned(tfLog, `module.log.google_storage_bucket_iam_member.writer["gate"]`, "role", "roles/storage.objectCreator"),
			planned(tfLog, `module.log.google_storage_bucket_iam_member.checkpoint["gate"]`, "condition.0.expression",
				`resource.name == "projects/_/buckets/acme-log/objects/gate.acme.example/decisions/checkpoint"`),
			agents("storage buckets gs://demo-log", "roles/storage.objectViewer"),
			agents("storage buckets gs://demo-log", "roles/storage.objectCreator"),
			granted("storage buckets gs://demo-log", "roles/storage.objectUser"), // without a condition: nobody
			granted(`storage buckets gs://demo-log if title=checkpoint,`+
				`expression=resource.name == "projects/_/buckets/demo-log/objects/gate.demo.example/decisions/checkpoint"`,
				"roles/storage.objectUser", scriptAPI, scriptEvents),
		},
	}
}

// dataControls are about the database, keys, and the record.
func dataControls() map[string][]applied {
	const db = "module.database.google_sql_database_instance.record"
	return map[string][]applied{
		"TLS of the database": {
			planned(tfDatabase, db, "settings.0.ip_configuration.0.ssl_mode", "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"),
			made("sql instances gate", "ssl-mode", "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"),
		},
		"private address of the database": {
			planned(tfDatabase, db, "settings.0.ip_configuration.0.ipv4_enabled", "false"), made("sql instances gate", "no-assign-ip", ""),
			planned(tfDatabase, db, "settings.0.ip_configuration.0.private_network", "<module.network.google_compute_network.gate.id>"),
		},
		"log in to the database without a password": {
			planned(tfDatabase, `module.database.google_sql_user.service["gate"]`, "type", "CLOUD_IAM_SERVICE_ACCOUNT"),
			planned(tfDatabase, `module.database.google_sql_user.service["gate"]`, "name", "gate-api@acme.iam"),
			planned(tfDatabase, `module.database.google_sql_user.service["gate"]`, "password", ""),
			planned(tfService, gateService, "template.0.containers.1.args.1", "--auto-iam-authn"),
			inYAML(yamlGate, "spec > template > spec > containers > 1 > args > 1", "--auto-iam-authn"),
			moduleRefuses(tfInputs, "service", serviceInputs(`"connection_string": "postgres://gate:hunter2@127.0.0.1/gate"`), "holds a password"),
			made("sql users gate-api@demo.iam in gate", "type", "cloud_iam_service_account"),
		},
		"key that cannot be destroyed by a slip": {
			kept(tfSigning, "module.signing.google_kms_crypto_key.attest"),
			planned(tfSigning, "module.signing.google_kms_crypto_key.attest", "version_template.0.protection_level", "HSM"),
			planned(tfSigning, "module.signing.google_kms_crypto_key.attest", "destroy_scheduled_duration", "2592000s"),
			made("kms keys gate in gate", "protection-level", "hsm"), made("kms keys gate in gate", "destroy-scheduled-duration", "30d"),
		},
		"the record's log: key and copy": {
			planned(tfLog, "module.log.google_kms_crypto_key.log", "version_template.0.algorithm", "EC_SIGN_ED25519"),
			kept(tfLog, "module.log.google_kms_crypto_key.log"),
			planned(tfLog, "module.log.google_storage_bucket.log", "versioning.0.enabled", "true"),
			kept(tfLog, "module.log.google_storage_bucket.log"),
			planned(oneMain, "module.log.google_storage_bucket.log", "name", "acme-log"),
			made("kms keys log in log", "default-algorithm", "ec-sign-ed25519"),
			made("storage buckets gs://demo-log", "versioning", ""), inYAML(confGate, "log > bucket", "~gs://.+"),
			inYAML(confEvent, "log > bucket", "~gs://.+"),
		},
	}
}

// otherControls stand outside the definition of a service.
func otherControls() map[string][]applied {
	const (
		policy  = "module.admission.google_binary_authorization_policy.policy"
		rules   = `module.guardrails[0].google_org_policy_policy.run["run.allowed`
		pushed  = `module.events.google_pubsub_subscription.push["acme/gcr"]`
		pusher  = "gate-pusher@acme.iam.gserviceaccount.com"
		caller  = `module.federation.google_service_account_iam_member.caller["api"]`
		pusherD = "gate-pusher@demo.iam.gserviceaccount.com"
		uri     = "https://gate-events-abc.a.run.app"
	)
	out := map[string][]applied{
		"Workload Identity Federation": {
			planned("terraform/modules/federation/main.tf", `module.federation.google_iam_workload_identity_pool_provider.oidc["github"]`,
				"attribute_condition", "assertion.repository_owner == 'acme'"),
			plannedAs("terraform/modules/federation/main.tf", caller, "member", `principalSet://iam\.googleapis\.com/.+/attribute\.repository/acme/api`),
			planned("terraform/modules/federation/main.tf", caller, "role", "roles/iam.serviceAccountOpenIdTokenCreator"),
		},
		"VPC Service Controls": {plannedAs(tfRules, "module.guardrails[0].google_access_context_manager_service_perimeter.supply_chain[0]",
			"status.0.restricted_services",
			`.*artifactregistry\.googleapis\.com.*containeranalysis\.googleapis\.com.*cloudkms\.googleapis\.com.*`)}, // and TestPerimeterAdmitsWhoMustPass
		"organisation policy: ingress": {planned(tfRules, rules+`Ingress"]`, "spec.0.rules.1.values.0.allowed_values",
			"internal internal-and-cloud-load-balancing")},
		"organisation policy: VPC egress": {planned(tfRules, rules+`VPCEgress"]`, "spec.0.rules.1.values.0.allowed_values",
			"all-traffic private-ranges-only")},
		"organisation policy: Binary Authorization": {planned(tfRules, rules+`BinaryAuthorizationPolicies"]`,
			"spec.0.rules.1.values.0.allowed_values", "default")},
		"organisation policy: exception by tag": {
			planned(tfRules, rules+`Ingress"]`, "spec.0.rules.0.allow_all", "TRUE"),
			plannedAs(tfRules, rules+`Ingress"]`, "spec.0.rules.0.condition.0.expression",
				`resource\.matchTagId\('<.+tag_key\.exempt\.id>', '<.+tag_value\.exempt\.id>'\)`),
		},
		"Binary Authorization: attestation required": {
			planned(tfAdmit, policy, "default_admission_rule.0.evaluation_mode", "REQUIRE_ATTESTATION"),
			admits("evaluationMode", "REQUIRE_ATTESTATION"),
		},
		"Binary Authorization: allowlist": {
			plannedAs(tfAdmit, policy, "admission_whitelist_patterns.0.name_pattern", `gcr\.io/cloud-sql-connectors/cloud-sql-proxy@\*`),
			allowlisted("gcr.io/cloud-sql-connectors/cloud-sql-proxy@*"),
			moduleRefuses(tfAdmit, "admission", `{"project": "acme", "attestor": "projects/acme/attestors/gate", `+
				`"allowlist": ["gcr.io/*"]}`, "names a repository"),
		},
		"Binary Authorization: dry run first": {
			alone(tfAdmit, "admission", `{"project": "acme", "attestor": "projects/acme/attestors/gate"}`, "google_binary_authorization_policy.policy",
				map[string]string{"default_admission_rule.0.enforcement_mode": "DRYRUN_AUDIT_LOG_ONLY"}),
			planned(oneMain, policy, "default_admission_rule.0.enforcement_mode", "ENFORCED_BLOCK_AND_AUDIT_LOG"), // which the example was asked for
			admits("enforcementMode", "DRYRUN_AUDIT_LOG_ONLY"),
		},
		"Binary Authorization: break-glass drill": {headed("../docs/rollout.md", "(?i)break-glass drill")},
		"Artifact Analysis: scanning on push": {
			planned(tfRegistry, "module.registry.google_artifact_registry_repository.images", "vulnerability_scanning_config.0.enablement_config", "INHERITED"),
			planned(tfApis, `module.apis.google_project_service.api["acme/containerscanning.googleapis.com"]`, "service",
				"containerscanning.googleapis.com"), enabled("containerscanning"),
		},
		"Artifact Analysis: on demand": {
			planned(tfApis, `module.apis.google_project_service.api["acme/ondemandscanning.googleapis.com"]`, "service",
				"ondemandscanning.googleapis.com"), enabled("ondemandscanning"),
		},
		"base images": {
			inYAML("policies/bases/google-managed.yaml", "0 > repository", "~marketplace\\.gcr\\.io/google/.+"),
			inYAML("policies/bases/distroless.yaml", "0 > repository", "~gcr\\.io/distroless/.+"),
			inYAML("policies/bases/distroless.yaml", "0 > signedBy > keyless > subject", "keyless@distroless.iam.gserviceaccount.com"),
		},
		"two services: events are internal": {
			planned(oneMain, eventsService, "name", "gate-events"), planned(oneMain, eventsService, "ingress", "INGRESS_TRAFFIC_INTERNAL_ONLY"),
			inYAML(yamlEvent, "metadata > name", "gate-events"),
		},
		"two services: custom audience": {
			planned(tfService, gateService, "custom_audiences", "https://gate.acme.example"),
			annotated(yamlGate, "custom-audiences", `["https://gate.acme.example"]`),
		},
		"two services: trust in the platform": {inYAML(confEvent, "identity > unsafeTrustPlatform", "true"),
			inYAML(confGate, "identity > unsafeTrustPlatform", "")},
		"two services: CPU outside requests": join(both("template.0.containers.0.resources.0.cpu_idle", "false"), []applied{
			revision(yamlGate, "run.googleapis.com/cpu-throttling", "false"), revision(yamlEvent, "run.googleapis.com/cpu-throttling", "false"),
		}),
		"two services: wait below the time-out":   {inYAML(confGate, "limits > maxWait", "45s")},
		"two services: how a policy takes effect": {headed("../docs/rollout.md", "[Pp]olicy")},
		"two services: bootstrap of the gate":     {headed("../docs/rollout.md", "itself")},
		"container: distroless, numeric, by digest": {instruction("FROM", `gcr\.io/distroless/static-.+@sha256:[0-9a-f]{64}`),
			instruction("USER", "65532:65532")},
		"container: nothing secret in the build": {ignored(
			[]string{".git/config", ".env", "server/.env.local", "tls.key", "deploy/a/b.key", "server/tls.pem", "a/id_rsa.old", "server/testdata/x"},
			[]string{"go.mod", "server/server.go", "verify/provenance/keys/global.key"},
		)},
		"two services: roots of signatures": {
			planned(tfService, gateService, "template.0.volumes.2.secret.0.secret", "gate-file-trust"),
			container(yamlGate, "volumeMounts > 2 > mountPath", "/etc/attestor/trust"),
			container(yamlEvent, "volumeMounts > 2 > mountPath", "/etc/attestor/trust"),
			inYAML(confGate, "trustedRoot", "/etc/attestor/trust/trusted_root.json"),
		},
		"two services: one hash of a caller": {
			planned(tfService, gateService, "template.0.volumes.3.secret.0.secret", "gate-hash"),
			planned(oneMain, eventsService, "template.0.volumes.3.secret.0.secret", "gate-hash"),
			inYAML(yamlGate, "spec > template > spec > volumes > 4 > secret > secretName", "gate-hash"),
			inYAML(yamlEvent, "spec > template > spec > volumes > 4 > secret > secretName", "gate-hash"),
			made("secrets gate-hash", "replication-policy", "user-managed"), inYAML(confGate, "telemetry > hashKey", "/etc/attestor/hash/key"),
			inYAML(confEvent, "telemetry > hashKey", "/etc/attestor/hash/key"),
		},
		"dead letters": {
			planned(tfEvents, pushed, "dead_letter_policy.0.dead_letter_topic", "<module.events.google_pubsub_topic.dead.id>"),
			planned(tfEvents, pushed, "dead_letter_policy.0.max_delivery_attempts", "30"),
			made("pubsub subscriptions gate-gcr", "dead-letter-topic", "gate-dead"),
			granted("pubsub topics gate-dead", "roles/pubsub.publisher", scriptPubsub),
			granted("pubsub subscriptions gate-gcr", "roles/pubsub.subscriber", scriptPubsub),
		},
		"push and schedule with a token": {
			planned(tfEvents, pushed, "push_config.0.oidc_token.0.service_account_email", pusher),
			plannedAs(tfEvents, pushed, "push_config.0.oidc_token.0.audience", `https://gate-events-.+\.run\.app`),
			planned(tfEvents, "module.events.google_cloud_scheduler_job.rejudge", "http_target.0.oidc_token.0.service_account_email", pusher),
			planned(tfEvents, "module.events.google_cloud_scheduler_job.expire", "http_target.0.oidc_token.0.service_account_email", pusher),
			made("pubsub subscriptions gate-gcr", "push-auth-service-account", pusherD),
			made("pubsub subscriptions gate-gcr", "push-auth-token-audience", uri),
			made("scheduler jobs gate-rejudge", "oidc-service-account-email", pusherD),
			made("scheduler jobs gate-expire", "oidc-token-audience", uri),
		},
		"build trigger": {planned(tfBuild, `module.build["api"].google_cloudbuild_trigger.image`, "substitutions._IMAGE",
			"us-east1-docker.pkg.dev/acme-images/prod/api")},
		"dashboard and alerts": {
			planned("terraform/modules/monitoring/main.tf", `module.monitoring.google_monitoring_alert_policy.alert["AttestorAbsent"]`, "severity", "CRITICAL"),
			plannedAs("terraform/modules/monitoring/main.tf", "module.monitoring.google_monitoring_dashboard.gate",
				"dashboard_json", `(?s)\{.*"prometheusQuery".*\}`),
		},
	}
	for _, more := range []map[string][]applied{edgeControls(), grantControls(), dataControls()} {
		for control, places := range more {
			out[control] = places
		}
	}
	return out
}
