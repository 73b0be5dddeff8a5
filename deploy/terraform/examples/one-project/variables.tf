variable "project" {
  description = "Project id."
  type        = string
}

variable "region" {
  description = "Region of everything."
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
  description = "File with the configuration of gate: begin with deploy/cloudrun/gate/attestor.yaml."
  type        = string
}

variable "events_config" {
  description = "File with the configuration of gate-events: begin with deploy/cloudrun/gate-events/attestor.yaml."
  type        = string
}

variable "policy" {
  description = "File with the policy: begin with deploy/policies/starter.yaml."
  type        = string
}

variable "notification_channels" {
  description = "Who is told of alerts: projects/P/notificationChannels/N."
  type        = list(string)
  default     = []
}

variable "runbook" {
  description = "Where docs/operations.md can be read."
  type        = string
  default     = "https://github.com/attestor-gate/attestor/blob/main/docs/operations.md"
}

variable "enforce" {
  description = "Binary Authorization blocks. false until docs/rollout.md says so."
  type        = bool
  default     = false
}

variable "encrypt" {
  description = "A key of one's own encrypts both services, as the hipaa profile of posture wants."
  type        = bool
  default     = true
}

variable "collector_image" {
  description = "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar, by digest: brings /metrics to Managed Service for Prometheus, which the alerts are computed from. null: something else does."
  type        = string
  default     = null
}

variable "files" {
  description = "What configuration and policies name besides, path to file: trusted roots, public keys of bases. The default is the root of public-good Sigstore, which distroless is signed under."
  type        = map(string)
  default     = { "/etc/attestor/trust/trusted_root.json" = "../../../policies/bases/trust/sigstore-public-good.json" }
}

variable "hash_key" {
  description = "Secret of the gate's project with the key by which callers appear in logs, and its version: make it before the first apply, as docs/deploy.md says. null, with hashKey taken out of both configurations: each instance makes up its own."
  type        = object({ secret = string, version = string })
  default     = { secret = "gate-hash", version = "1" }
}
