variable "project" {
  description = "Project of key, note, attestor and attestations; not the gate's project if duties are separated."
  type        = string
}

variable "location" {
  description = "Location of the key ring, such as us-east1 or global."
  type        = string
}

variable "attestor" {
  description = "Name of the attestor, and of its note and key."
  type        = string
  default     = "gate"
}

variable "signer_member" {
  description = "The gate's service account, serviceAccount:…"
  type        = string
}

variable "events_member" {
  description = "The service account of gate-events, serviceAccount:…, which also judges and signs."
  type        = string
}

variable "verifiers" {
  description = "Binary Authorization's service agents (service-NUMBER@gcp-sa-binaryauthorization.iam.gserviceaccount.com) of the projects that deploy."
  type        = set(string)
  default     = []
}

variable "key_versions" {
  description = "Versions of the key whose signatures are accepted. Add a new version before the gate signs with it. Remove an old one when no image runs that it attested."
  type        = set(string)
  default     = ["1"]
}
