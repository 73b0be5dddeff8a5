# Builds an image on every push to a branch and requests an attestation, with
# deploy/cloudbuild/attest-container.yaml in the repository that is built.

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

# Repositories of one name occur in several registries, and several branches of one are built: the hash tells their triggers
# apart. A trigger's name has at most 64 characters.
locals {
  name = "gate-${substr(replace(basename(var.image), "/[^A-Za-z0-9-]/", "-"), 0, 50)}-${substr(sha256("${var.owner}/${var.repository} ${var.branch} ${var.image}"), 0, 8)}"
}

resource "google_cloudbuild_trigger" "image" {
  project         = var.project
  location        = var.region
  name            = local.name
  description     = "Builds ${var.image} and has it judged"
  filename        = "cloudbuild.yaml"
  service_account = var.service_account

  github {
    owner = var.owner
    name  = var.repository
    push {
      branch = var.branch
    }
  }

  substitutions = {
    _IMAGE      = var.image
    _GATE       = var.gate_url
    _GATE_IMAGE = var.gate_image
  }
}
