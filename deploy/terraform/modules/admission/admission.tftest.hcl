mock_provider "google" {}

variables {
  project  = "acme-shop"
  attestor = "projects/acme-keys/attestors/gate"
}

run "begins_in_dry_run" {
  command = apply

  assert {
    condition     = google_binary_authorization_policy.policy.default_admission_rule[0].enforcement_mode == "DRYRUN_AUDIT_LOG_ONLY"
    error_message = "It blocks before anybody asked for that."
  }
  assert {
    condition     = google_binary_authorization_policy.policy.default_admission_rule[0].evaluation_mode == "REQUIRE_ATTESTATION" && google_binary_authorization_policy.policy.default_admission_rule[0].require_attestations_by == toset([var.attestor])
    error_message = "No attestation of the gate is required."
  }
  assert {
    condition     = google_binary_authorization_policy.policy.global_policy_evaluation_mode == "ENABLE" && length(google_binary_authorization_policy.policy.cluster_admission_rules) == 0
    error_message = "System images are not Google's to judge, or a cluster has a laxer rule."
  }
}

run "enforces" {
  command = apply
  variables { enforce = true }

  assert {
    condition     = google_binary_authorization_policy.policy.default_admission_rule[0].enforcement_mode == "ENFORCED_BLOCK_AND_AUDIT_LOG"
    error_message = "It does not block."
  }
}

run "a_registry_in_the_allowlist_is_refused" {
  command = plan
  variables { allowlist = ["gcr.io/*"] }
  expect_failures = [var.allowlist]
}

run "clusters" {
  command = apply
  variables {
    clusters = { "us-east1.shop" = { enforce = true }, "us-east1.old" = { evaluation = "ALWAYS_DENY", enforce = false } }
  }

  assert {
    condition     = { for r in google_binary_authorization_policy.policy.cluster_admission_rules : r.cluster => "${r.evaluation_mode} ${r.enforcement_mode} ${join(",", coalesce(r.require_attestations_by, []))}" } == { "us-east1.shop" = "REQUIRE_ATTESTATION ENFORCED_BLOCK_AND_AUDIT_LOG projects/acme-keys/attestors/gate", "us-east1.old" = "ALWAYS_DENY DRYRUN_AUDIT_LOG_ONLY " }
    error_message = "A cluster has another rule than it was given."
  }
}

run "a_cluster_that_is_let_off_is_refused" {
  command = plan
  variables { clusters = { "us-east1.shop" = { evaluation = "ALWAYS_ALLOW", enforce = true } } }
  expect_failures = [var.clusters]
}
