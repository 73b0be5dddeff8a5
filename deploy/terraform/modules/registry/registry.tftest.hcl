mock_provider "google" {}

variables {
  project      = "acme-images"
  region       = "us-east1"
  repository   = "prod"
  gate_members = { gate = "serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com" }
  pushers      = ["serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com"]
}

run "scanned" {
  command = apply

  assert {
    condition     = google_artifact_registry_repository.images.vulnerability_scanning_config[0].enablement_config == "INHERITED" && google_artifact_registry_repository.images.docker_config[0].immutable_tags
    error_message = "Pushes are not scanned, or tags move."
  }
  assert {
    condition     = [for m in google_artifact_registry_repository_iam_member.gate : m.role] == ["roles/artifactregistry.reader"]
    error_message = "The gate may do more than read."
  }
}
