mock_provider "google" {}

variables {
  project         = "acme-build"
  region          = "us-east1"
  owner           = "acme"
  repository      = "api"
  service_account = "projects/acme-build/serviceAccounts/gate-builder@acme-build.iam.gserviceaccount.com"
  image           = "us-east1-docker.pkg.dev/acme-images/prod/api"
  gate_image      = "us-east1-docker.pkg.dev/acme-images/gate/attestor@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  gate_url        = "https://gate.acme.example"
}

run "trigger" {
  command = apply

  assert {
    condition     = google_cloudbuild_trigger.image.service_account == var.service_account && google_cloudbuild_trigger.image.github[0].push[0].branch == "^main$"
    error_message = "It builds as another account, or every branch."
  }
  assert {
    condition     = google_cloudbuild_trigger.image.substitutions == tomap({ _IMAGE = var.image, _GATE = var.gate_url, _GATE_IMAGE = var.gate_image }) && length(google_cloudbuild_trigger.image.name) <= 64
    error_message = "The build judges another image, or asks another gate."
  }
}

run "a_gate_by_tag_is_refused" {
  command = plan
  variables { gate_image = "us-east1-docker.pkg.dev/acme-images/gate/attestor:v1" }
  expect_failures = [var.gate_image]
}
