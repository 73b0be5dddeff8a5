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

variable "clusters" {
  description = "Rules of single GKE clusters, by LOCATION.CLUSTER, where they differ from the rule for everything else: {evaluation, attestors, enforce}. evaluation is REQUIRE_ATTESTATION or ALWAYS_DENY; attestors are the gate's where they are left out. A cluster cannot be let off."
  type = map(object({
    evaluation = optional(string, "REQUIRE_ATTESTATION")
    attestors  = optional(set(string))
    enforce    = bool
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.clusters) : can(regex("^[a-z0-9-]+\\.[a-z0-9-]+$", name))])
    error_message = "A cluster is LOCATION.CLUSTER, such as us-east1.shop."
  }

  validation {
    condition     = alltrue([for c in values(var.clusters) : contains(["REQUIRE_ATTESTATION", "ALWAYS_DENY"], c.evaluation)])
    error_message = "A cluster requires attestations, or denies everything."
  }
}
