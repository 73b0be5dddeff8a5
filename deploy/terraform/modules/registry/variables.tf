variable "project" {
  description = "Project of the images and their scans."
  type        = string
}

variable "region" {
  description = "Location of the repository, such as us-east1 or us."
  type        = string
}

variable "repository" {
  description = "Name of the repository."
  type        = string
}

variable "kms_key" {
  description = "Key that encrypts the repository, projects/…/cryptoKeys/K; null: a key of Google's."
  type        = string
  default     = null
}

variable "gate_members" {
  description = "The gate's service accounts, serviceAccount:…, by service."
  type        = map(string)
}

variable "pushers" {
  description = "Members that may push, such as the build's service account."
  type        = set(string)
  default     = []
}
