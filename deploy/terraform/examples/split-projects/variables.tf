variable "gate_project" {
  description = "Project in which the gate runs."
  type        = string
}

variable "keys_project" {
  description = "Project of key, note, attestor and attestations only."
  type        = string
}

variable "images_project" {
  description = "Project of the images and their scans."
  type        = string
}

variable "build_project" {
  description = "Project in which images are built."
  type        = string
}

variable "deploy_projects" {
  description = "Projects that run images."
  type        = set(string)
}

variable "enforced_projects" {
  description = "Projects, of these and the gate's, in which Binary Authorization blocks images. Add them one after the other, as docs/rollout.md describes."
  type        = set(string)
  default     = []
}

variable "ci" {
  description = "CI outside Google: variable oidc of module federation."
  type = map(object({
    issuer     = string
    condition  = string
    attributes = map(string)
  }))
  default = {
    github = {
      issuer     = "https://token.actions.githubusercontent.com"
      condition  = "assertion.repository_owner_id == '0'" # replace: your organisation's id at GitHub
      attributes = { repository = "assertion.repository", ref = "assertion.ref" }
    }
  }
}

variable "ci_pool" {
  description = "Variable pool of module federation."
  type        = string
  default     = "gate-ci"
}

variable "ci_callers" {
  description = "Its callers: variable callers of module federation."
  type        = map(string)
  default     = {}
}

variable "organization" {
  description = "Number of the organisation; null: its policies are not changed."
  type        = string
  default     = null
}

variable "access_policy" {
  description = "Number of its access policy; null: no perimeter."
  type        = string
  default     = null
}

variable "enforce_perimeter" {
  description = "true: the perimeter refuses requests. false: it only logs them."
  type        = bool
  default     = false

  validation {
    condition     = !var.enforce_perimeter || length(var.operators) > 0
    error_message = "Name in operators who applies this: otherwise the perimeter refuses the next apply."
  }
}

variable "operators" {
  description = "Members that apply this configuration, such as the service account of the pipeline that does. The perimeter admits them from everywhere."
  type        = set(string)
  default     = []
}

variable "ingress" {
  description = "Further rules of variable ingress of module guardrails: whoever else pushes, pulls or reads findings."
  type        = map(object({ identities = set(string), services = set(string), projects = optional(set(string), []) }))
  default     = {}
}

variable "region" {
  description = "Region of all resources."
  type        = string
  default     = "us-east1"
}

variable "image" {
  description = "The gate's image, by digest."
  type        = string
}

variable "proxy_image" {
  description = "gcr.io/cloud-sql-connectors/cloud-sql-proxy, by digest."
  type        = string
}

variable "api_host" {
  description = "Host of the API."
  type        = string
}

variable "pages_host" {
  description = "Host of the pages."
  type        = string
}

variable "readers" {
  description = "Members that may read the pages."
  type        = set(string)
}

variable "people" {
  description = "Variable people of module identities."
  type        = map(set(string))
  default     = {}
}

variable "callers" {
  description = "Members that may call the API besides the builds, such as group:security@acme.example."
  type        = set(string)
  default     = []
}

variable "gate_config" {
  description = "File with the configuration of gate; start from deploy/cloudrun/gate/attestor.yaml."
  type        = string
}

variable "events_config" {
  description = "File with the configuration of gate-events; start from deploy/cloudrun/gate-events/attestor.yaml."
  type        = string
}

variable "policy" {
  description = "File with the policy; start from deploy/policies/starter.yaml."
  type        = string
}

variable "database_name" {
  description = "Name of the database's instance; another one after a deletion, since names cannot be used again for a week."
  type        = string
  default     = "gate"
}

variable "existing_topics" {
  description = "PROJECT/TOPIC of those cloud-builds and gcr that exist already."
  type        = set(string)
  default     = []
}

variable "notification_channels" {
  description = "Notification channels of alerts: projects/P/notificationChannels/N."
  type        = list(string)
  default     = []
}

variable "runbook" {
  description = "URL of docs/operations.md."
  type        = string
  default     = "https://github.com/attestor-gate/attestor/blob/main/docs/operations.md"
}

variable "builds" {
  description = "Image name to {owner, repository} at GitHub; each gets a build trigger."
  type        = map(object({ owner = string, repository = string }))
  default     = {}
}

variable "internal_certificate" {
  description = "Variable certificate of module internal; null: no internal load balancer."
  type        = string
  default     = null
}

variable "encrypt" {
  description = "true: a customer-managed key encrypts both services, as posture's hipaa profile requires."
  type        = bool
  default     = true
}

variable "collector_image" {
  description = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar, by digest. It sends /metrics to Managed Service for Prometheus, which evaluates the alerts. null: another collector does."
  type        = string
  default     = null
}

variable "files" {
  description = "Other files that configuration and policies name, path to file: trusted roots, public keys of bases. The default is the root of Sigstore's public-good instance, for signatures of distroless."
  type        = map(string)
  default     = { "/etc/attestor/trust/trusted_root.json" = "../../../policies/bases/trust/sigstore-public-good.json" }
}

variable "hash_key" {
  description = "Secret of the gate's project with the key that hashes callers in logs, and its version. Create it before the first apply, as docs/deploy.md describes. null, with hashKey removed from both configurations: each instance generates a key of its own."
  type        = object({ secret = string, version = string })
  default     = { secret = "gate-hash", version = "1" }
}

variable "other_regions" {
  description = "Further regions of gate, each with the range of its subnet, such as {us-east4 = \"10.20.0.0/24\"}. gate-events runs in the first region."
  type        = map(string)
  default     = {}
}

variable "replica_region" {
  description = "Region of the database's replica; null: none."
  type        = string
  default     = null
}

variable "database_promoted" {
  description = "true: the replica is the database. docs/deploy.md, Several regions, has the runbook."
  type        = bool
  default     = false
}

variable "rates" {
  description = "dependencies.rates of both configurations: calls a second of Google's services, below your quotas; null: as the files say."
  type        = map(number)
  default     = null
}

variable "summaries" {
  description = "true: a key for verification summaries, and section vsa of both configurations."
  type        = bool
  default     = false
}

variable "auditors" {
  description = "Members that read exported decisions; the people of tasks write them. Empty: no bucket."
  type        = set(string)
  default     = []
}

variable "clusters" {
  description = "Project to variable clusters of its module admission."
  type = map(map(object({
    evaluation = optional(string, "REQUIRE_ATTESTATION")
    attestors  = optional(set(string))
    enforce    = bool
  })))
  default = {}
}

variable "private_service_connect" {
  description = "Variable private_service_connect of module network."
  type        = string
  default     = null
}

variable "scope" {
  description = "Variable scope of module guardrails."
  type        = object({ production = string, internal = string })
  default     = null
}

variable "former_certificates" {
  description = "Variable former_certificates of module edge."
  type        = list(string)
  default     = []
}
