mock_provider "google" {}

mock_provider "google-beta" {}

variables {
  settle   = 0 # nothing here has to be waited for
  projects = { acme-gate = ["gate"], acme-shop = ["deploy"], acme-images = ["images"] }
}

run "agents" {
  command = apply

  assert {
    condition     = toset(keys(google_project_service_identity.agent)) == toset(["acme-gate/run.googleapis.com", "acme-gate/iap.googleapis.com", "acme-gate/pubsub.googleapis.com", "acme-shop/run.googleapis.com", "acme-shop/binaryauthorization.googleapis.com"])
    error_message = "A role is granted to an agent that does not exist yet."
  }
  assert {
    condition     = alltrue([for key, a in google_project_service_identity.agent : contains(keys(google_project_service.api), key)])
    error_message = "An agent is created of an API that is not enabled."
  }
}
