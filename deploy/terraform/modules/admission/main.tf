# Binary Authorization's policy of one project that deploys images. It starts as a
# dry run: violations are logged and admitted. docs/rollout.md says when to enforce.

variable "project" {
  description = "Project of the Cloud Run services and clusters that this policy governs."
  type        = string
}

variable "attestor" {
  description = "The gate's attestor, projects/P/attestors/A."
  type        = string
}

variable "enforce" {
  description = "false: DRYRUN_AUDIT_LOG_ONLY, log only. true: block."
  type        = bool
  default     = false
}

variable "allowlist" {
  description = "Image patterns that need no attestation, such as Google's sidecars. Name a repository, never a registry."
  type        = list(string)
  default = [
    "gcr.io/cloud-sql-connectors/cloud-sql-proxy@*",
    "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar@*",
  ]

  validation {
    condition     = alltrue([for p in var.allowlist : length(split("/", p)) >= 3 && !startswith(p, "*")])
    error_message = "Each pattern names a repository: HOST/PROJECT/IMAGE."
  }
}

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

  default_admission_rule {
    evaluation_mode         = "REQUIRE_ATTESTATION"
    enforcement_mode        = var.enforce ? "ENFORCED_BLOCK_AND_AUDIT_LOG" : "DRYRUN_AUDIT_LOG_ONLY"
    require_attestations_by = [var.attestor]
  }
}
