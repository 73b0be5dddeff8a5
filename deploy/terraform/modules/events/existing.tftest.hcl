mock_provider "google" {}

variables {
  project        = "acme-gate"
  project_number = "123456789012"
  region         = "us-east1"
  uri            = "https://gate-events-123456789012.us-east1.run.app"
  pusher         = { email = "gate-pusher@acme-gate.iam.gserviceaccount.com", name = "projects/acme-gate/serviceAccounts/gate-pusher@acme-gate.iam.gserviceaccount.com", member = "serviceAccount:gate-pusher@acme-gate.iam.gserviceaccount.com" }
  events_member  = "serviceAccount:gate-events@acme-gate.iam.gserviceaccount.com"
  topics         = { acme-images = ["container-analysis-occurrences-v1", "gcr"], acme-build = ["cloud-builds"] }
}

run "existing" {
  command = apply
  variables {
    existing_topics                  = ["acme-images/gcr"]
    create_container_analysis_topics = true
  }

  assert {
    condition     = toset(keys(google_pubsub_topic.source)) == toset(["acme-gate/gate-rejudge", "acme-images/container-analysis-occurrences-v1", "acme-build/cloud-builds"]) && google_pubsub_subscription.push["acme-images/gcr"].topic == "projects/acme-images/topics/gcr"
    error_message = "A topic that exists is created, or one that is missing is not."
  }
}
