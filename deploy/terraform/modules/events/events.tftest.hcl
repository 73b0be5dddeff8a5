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

run "pushes" {
  command = plan # what is applied cannot be destroyed again

  assert {
    condition     = toset(keys(google_pubsub_topic.source)) == toset(["acme-gate/gate-rejudge", "acme-images/gcr", "acme-build/cloud-builds"])
    error_message = "A topic of Google's is created (409), or would be deleted with this module."
  }
  assert {
    condition     = google_pubsub_subscription.push["acme-images/container-analysis-occurrences-v1"].topic == "projects/acme-images/topics/container-analysis-occurrences-v1"
    error_message = "Findings come from another topic than Google's."
  }

  assert {
    condition     = length(google_pubsub_subscription.push) == 4 && alltrue([for s in google_pubsub_subscription.push : s.push_config[0].push_endpoint == "${var.uri}/v1/events" && s.push_config[0].oidc_token[0].service_account_email == var.pusher.email && s.push_config[0].oidc_token[0].audience == var.uri])
    error_message = "A message is pushed without a token, or elsewhere."
  }
  assert {
    condition     = alltrue([for s in google_pubsub_subscription.push : s.dead_letter_policy[0].max_delivery_attempts == 30 && s.expiration_policy[0].ttl == "" && s.ack_deadline_seconds > 60])
    error_message = "Messages get lost, or are pushed again while they are judged."
  }
  assert {
    condition     = google_cloud_scheduler_job.rejudge.http_target[0].uri == "${var.uri}/v1/rejudge" && google_cloud_scheduler_job.rejudge.http_target[0].oidc_token[0].audience == var.uri
    error_message = "The schedule calls without a token, or elsewhere."
  }
  assert {
    condition     = google_cloud_scheduler_job.expire.http_target[0].uri == "${var.uri}/v1/expire" && google_cloud_scheduler_job.expire.schedule == "*/5 * * * *" && google_cloud_scheduler_job.expire.http_target[0].oidc_token[0].audience == var.uri
    error_message = "Overrides are not ended, or later than every five minutes."
  }
  assert {
    condition     = google_service_account_iam_member.tokens.service_account_id == var.pusher.name
    error_message = "Pub/Sub makes tokens of another account."
  }
  assert {
    condition     = google_pubsub_topic_iam_member.rejudge.topic == "gate-rejudge" && google_pubsub_topic_iam_member.rejudge.member == var.events_member && google_pubsub_subscription.push["acme-gate/gate-rejudge"].name == "gate-rejudge"
    error_message = "Somebody else publishes what is to be judged again, or it comes by another subscription than the configuration names."
  }
}

run "existing" {
  command = plan
  variables {
    existing_topics                  = ["acme-images/gcr"]
    create_container_analysis_topics = true
  }

  assert {
    condition     = toset(keys(google_pubsub_topic.source)) == toset(["acme-gate/gate-rejudge", "acme-images/container-analysis-occurrences-v1", "acme-build/cloud-builds"]) && google_pubsub_subscription.push["acme-images/gcr"].topic == "projects/acme-images/topics/gcr"
    error_message = "A topic that exists is created, or one that is missing is not."
  }
}
