# Binary Authorization's policy of one project that deploys images. It starts as a
# dry run: violations are logged and admitted. docs/rollout.md says when to enforce.

resource "google_binary_authorization_policy" "policy" {
  project     = var.project
  description = "Only what the gate attested"
  # Google's system images are governed by Google's own policy.
  global_policy_evaluation_mode = "ENABLE"

  dynamic "admission_whitelist_patterns" {
    for_each = var.allowlist
    content {
      name_pattern = admission_whitelist_patterns.value
    }
  }

  # One cluster after the other: begin with enforce = false in each.
  dynamic "cluster_admission_rules" {
    for_each = var.clusters
    content {
      cluster                 = cluster_admission_rules.key
      evaluation_mode         = cluster_admission_rules.value.evaluation
      enforcement_mode        = cluster_admission_rules.value.enforce ? "ENFORCED_BLOCK_AND_AUDIT_LOG" : "DRYRUN_AUDIT_LOG_ONLY"
      require_attestations_by = cluster_admission_rules.value.evaluation == "ALWAYS_DENY" ? [] : coalesce(cluster_admission_rules.value.attestors, [var.attestor])
    }
  }

  default_admission_rule {
    evaluation_mode         = "REQUIRE_ATTESTATION"
    enforcement_mode        = var.enforce ? "ENFORCED_BLOCK_AND_AUDIT_LOG" : "DRYRUN_AUDIT_LOG_ONLY"
    require_attestations_by = [var.attestor]
  }
}
