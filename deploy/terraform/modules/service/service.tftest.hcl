# terraform test: every flag of the hardening table, as the provider is told it.

mock_provider "google" {
  mock_resource "google_secret_manager_secret_version" {
    defaults = { version = "7" }
  }
}

variables {
  settle               = 0 # nothing here has to be waited for
  project              = "acme-gate"
  region               = "us-east1"
  name                 = "gate"
  image                = "us-east1-docker.pkg.dev/acme-images/gate/attestor@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  proxy_image          = "gcr.io/cloud-sql-connectors/cloud-sql-proxy@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  collector_image      = "us-docker.pkg.dev/acme/collector@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  service_account      = "gate-api@acme-gate.iam.gserviceaccount.com"
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_url_disabled = true
  audiences            = ["https://gate.acme.example"]
  kms_key              = "projects/acme-keys/locations/us-east1/keyRings/run/cryptoKeys/gate"
  network              = "projects/acme-gate/global/networks/gate"
  subnetwork           = "projects/acme-gate/regions/us-east1/subnetworks/gate"
  connection_name      = "acme-gate:us-east1:gate"
  connection_string    = "postgres://gate-api%40acme-gate.iam@127.0.0.1:5432/gate?sslmode=disable"
  config               = "policies: []"
  policies             = { main = "policy" }
  files                = { trust = { path = "/etc/attestor/trust/trusted_root.json", text = "{}" } }
  hash_key             = { secret = "gate-hash", version = "3" }
  invokers             = ["serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com"]
}

run "controls" {
  command = apply

  assert {
    condition     = google_cloud_run_v2_service.gate.ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER" && google_cloud_run_v2_service.gate.default_uri_disabled && !google_cloud_run_v2_service.gate.invoker_iam_disabled
    error_message = "The service can be reached past the load balancer."
  }
  assert {
    condition     = google_cloud_run_v2_service.gate.binary_authorization[0].use_default && google_cloud_run_v2_service.gate.binary_authorization[0].breakglass_justification == null
    error_message = "Binary Authorization is not on, or glass stands broken."
  }
  assert {
    condition     = google_cloud_run_v2_service.gate.template[0].vpc_access[0].egress == "ALL_TRAFFIC" && length(google_cloud_run_v2_service.gate.template[0].vpc_access[0].network_interfaces) == 1
    error_message = "Not everything leaves by the network."
  }
  assert {
    condition     = google_cloud_run_v2_service.gate.template[0].timeout == "60s" && google_cloud_run_v2_service.gate.template[0].max_instance_request_concurrency == 80
    error_message = "Time-out or concurrency is not bounded."
  }
  assert {
    condition     = google_cloud_run_v2_service.gate.template[0].scaling[0].min_instance_count == 1 && google_cloud_run_v2_service.gate.template[0].scaling[0].max_instance_count == 10
    error_message = "Instances are not bounded."
  }
  assert {
    condition     = google_cloud_run_v2_service.gate.template[0].service_account == var.service_account && google_cloud_run_v2_service.gate.template[0].encryption_key == var.kms_key
    error_message = "The service's account or key is not its own."
  }
  assert {
    condition     = alltrue([for c in google_cloud_run_v2_service.gate.template[0].containers : can(regex("@sha256:[0-9a-f]{64}$", c.image)) && c.resources[0].limits.cpu != null && c.resources[0].limits.memory != null])
    error_message = "A container has no limits, or is named by tag."
  }
  assert {
    condition     = [for c in google_cloud_run_v2_service.gate.template[0].containers : c.name] == ["gate", "proxy", "collector"] && !google_cloud_run_v2_service.gate.template[0].containers[0].resources[0].cpu_idle
    error_message = "The containers are others, or the gate has no CPU between requests."
  }
  assert {
    condition     = { for v in google_cloud_run_v2_service.gate.template[0].volumes : v.name => v.secret[0].items[0].version } == { config = "7", database = "7", hash = "3", policy-main = "7", file-trust = "7" }
    error_message = "A secret is not at the version that was just made, or was asked for."
  }
  assert {
    condition     = { for m in google_cloud_run_v2_service.gate.template[0].containers[0].volume_mounts : m.name => m.mount_path } == { config = "/etc/attestor/config", database = "/etc/attestor/database", hash = "/etc/attestor/hash", policy-main = "/etc/attestor/policies/main", file-trust = "/etc/attestor/trust" }
    error_message = "The files are not where the configuration names them."
  }
  assert {
    condition     = alltrue([for c in google_cloud_run_v2_service.gate.template[0].containers : length([for e in coalesce(c.env, []) : e if e.name != "GOMEMLIMIT"]) == 0])
    error_message = "Something is in the environment."
  }
  assert {
    condition     = length(google_secret_manager_secret_iam_member.reader) == 5 && google_secret_manager_secret_iam_member.reader["hash"].secret_id == "gate-hash" && alltrue([for r in google_secret_manager_secret_iam_member.reader : r.role == "roles/secretmanager.secretAccessor" && r.member == "serviceAccount:${var.service_account}"])
    error_message = "Somebody else reads the secrets."
  }
  assert {
    condition     = [for m in google_cloud_run_v2_service_iam_member.invoker : "${m.role} ${m.member}"] == ["roles/run.invoker serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com"]
    error_message = "Others may call."
  }
}

run "image_by_tag_is_refused" {
  command = plan
  variables { image = "us-east1-docker.pkg.dev/acme-images/gate/attestor:v1" }
  expect_failures = [var.image]
}

run "open_ingress_is_refused" {
  command = plan
  variables { ingress = "INGRESS_TRAFFIC_ALL" }
  expect_failures = [var.ingress]
}

run "everyone_as_caller_is_refused" {
  command = plan
  variables { invokers = ["allUsers"] }
  expect_failures = [var.invokers]
}

run "default_account_is_refused" {
  command = plan
  variables { service_account = "123456789012-compute@developer.gserviceaccount.com" }
  expect_failures = [var.service_account]
}

run "password_in_the_state_is_refused" {
  command = plan
  variables { connection_string = "postgres://gate:hunter2@10.0.0.3/gate" }
  expect_failures = [var.connection_string]
}

run "region_is_refused" {
  command = plan
  variables { region = "europe-west1" }
  expect_failures = [var.region]
}

run "two_files_in_a_directory_are_refused" {
  command = plan
  variables {
    files = {
      a = { path = "/etc/attestor/trust/a.json", text = "{}" }
      b = { path = "/etc/attestor/trust/b.json", text = "{}" }
    }
  }
  expect_failures = [var.files]
}

run "without_a_hash_key" {
  command = plan
  variables { hash_key = null }
  assert {
    condition     = !contains([for m in google_cloud_run_v2_service.gate.template[0].containers[0].volume_mounts : m.name], "hash")
    error_message = "A key is mounted that nobody named."
  }
}

run "a_hash_key_at_latest_is_refused" {
  command = plan
  variables { hash_key = { secret = "gate-hash", version = "latest" } }
  expect_failures = [var.hash_key]
}

run "a_file_over_the_configuration_is_refused" {
  command = plan
  variables { files = { a = { path = "/etc/attestor/config/attestor.yaml", text = "{}" } } }
  expect_failures = [var.files]
}

run "direct_iap" {
  command = apply
  variables {
    name           = "gate-pages"
    iap_readers    = ["group:security@acme.example"]
    project_number = "123456789012"
  }

  assert {
    condition     = google_cloud_run_v2_service.gate.iap_enabled && !google_cloud_run_v2_service.gate.invoker_iam_disabled && google_cloud_run_v2_service_iam_member.iap[0].member == "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"
    error_message = "The proxy is off, or may not call."
  }
  assert {
    condition     = [for m in google_iap_web_cloud_run_service_iam_member.reader : "${m.cloud_run_service_name} ${m.role} ${m.member}"] == ["gate-pages roles/iap.httpsResourceAccessor group:security@acme.example"]
    error_message = "Others than readers come in."
  }
}

run "settings" {
  command = apply
  variables { settings = { dependencies = { rates = { kms = 50 } } } }

  assert {
    condition     = yamldecode(google_secret_manager_secret_version.config.secret_data) == { policies = [], dependencies = { rates = { kms = 50 } } }
    error_message = "The configuration is another."
  }
}

run "callers_are_no_setting" {
  command = plan
  variables { settings = { identity = { callers = [] } } }
  expect_failures = [var.settings]
}

run "everyone_as_reader_is_refused" {
  command = plan
  variables { iap_readers = ["allUsers"] }
  expect_failures = [var.iap_readers]
}
