# Builds an image on every push to a branch and requests an attestation, with
# deploy/cloudbuild/attest-container.yaml in the repository that is built.

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
