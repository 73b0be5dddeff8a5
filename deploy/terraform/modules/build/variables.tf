variable "project" {
  description = "Project in which images are built."
  type        = string
}

variable "region" {
  description = "Region of the builds."
  type        = string
}

variable "owner" {
  description = "Owner of the repository at GitHub."
  type        = string
}

variable "repository" {
  description = "Name of the repository at GitHub, which must be connected to Cloud Build."
  type        = string
}

variable "branch" {
  description = "Branches, as a regular expression."
  type        = string
  default     = "^main$"
}

variable "service_account" {
  description = "projects/P/serviceAccounts/E that builds run as."
  type        = string
}

variable "image" {
  description = "Repository of the image, without tag: us-east1-docker.pkg.dev/acme/prod/api."
  type        = string
}

variable "gate_image" {
  description = "The gate's image, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.gate_image))
    error_message = "The image is named by digest."
  }
}

variable "gate_url" {
  description = "https://HOST of the gate's API."
  type        = string
}
