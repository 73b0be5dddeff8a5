variable "project" {
  description = "Project of the keys: that of the attestations' key."
  type        = string
}

variable "location" {
  description = "Location of the key ring."
  type        = string
}

variable "verifier" {
  description = "vsa.verifier of the configuration, such as https://gate.acme.example. Consumers compare it exactly."
  type        = string

  validation {
    condition     = can(regex("^https://[^?#]+$", var.verifier))
    error_message = "The verifier is an HTTPS URL without a query."
  }
}

variable "refused" {
  description = "true: refusals are signed too, by a key of their own."
  type        = bool
  default     = false
}

variable "gate_members" {
  description = "The service accounts of gate and gate-events, serviceAccount:…, by name."
  type        = map(string)
}

variable "repository" {
  description = "Repository that summaries are written to, beside its images: {project, location, name}; null: grant it elsewhere."
  type        = object({ project = string, location = string, name = string })
  default     = null
}
