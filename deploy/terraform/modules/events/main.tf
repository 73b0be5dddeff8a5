# The events after which the gate judges again: finished builds, finished scans and
# new findings, pushes, and a schedule. They are sent to the run.app address of
# gate-events with a token of the pushing service account.

locals {
  sources = merge([for project, names in var.topics : {
    for n in names : "${project}/${n}" => { project = project, name = n, subscription = "gate-${n}-${substr(sha256("${project}/${n}"), 0, 6)}" }
  }]...)
  # Messages of gate-events to itself: rejudge.topic and rejudge.subscription of its configuration.
  rejudge = "${var.project}/gate-rejudge"
  topics  = merge(local.sources, { (local.rejudge) = { project = var.project, name = "gate-rejudge", subscription = "gate-rejudge" } })

  # Creating a topic of Google's fails with 409, and destroying it would end every notification of the project.
  created = { for key, t in local.topics : key => t
    if !contains(var.existing_topics, key) && (!startswith(t.name, "container-analysis-") || var.create_container_analysis_topics)
  }
  agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "source" {
  for_each = local.created

  project = each.value.project
  name    = each.value.name

  lifecycle {
    # Others in the project may have subscriptions of it, and one of these topics was Google's own once: a plan that would
    # destroy one is refused.
    prevent_destroy = true
  }
}

resource "google_pubsub_topic" "dead" {
  project                    = var.project
  name                       = "gate-dead"
  message_retention_duration = "604800s"
}

# Keeps messages that could not be handled, for inspection.
resource "google_pubsub_subscription" "dead" {
  project                    = var.project
  name                       = "gate-dead"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_subscription" "push" {
  for_each = local.topics

  project                    = var.project
  name                       = each.value.subscription
  topic                      = contains(keys(local.created), each.key) ? google_pubsub_topic.source[each.key].id : "projects/${each.value.project}/topics/${each.value.name}"
  ack_deadline_seconds       = 70
  message_retention_duration = "86400s"

  push_config {
    push_endpoint = "${var.uri}/v1/events"
    oidc_token {
      service_account_email = var.pusher.email
      audience              = var.uri
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # With the back-off above, about four hours of an outage.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 30
  }

  expiration_policy {
    ttl = ""
  }
}

# Only gate-events publishes here: every message of this subscription causes a judgement.
resource "google_pubsub_topic_iam_member" "rejudge" {
  project = var.project
  topic   = google_pubsub_topic.source[local.rejudge].name
  role    = "roles/pubsub.publisher"
  member  = var.events_member
}

# Pub/Sub itself moves a dead letter: it publishes to the dead-letter topic and acknowledges on the subscriptions.
resource "google_pubsub_topic_iam_member" "dead" {
  project = var.project
  topic   = google_pubsub_topic.dead.name
  role    = "roles/pubsub.publisher"
  member  = local.agent
}

# The second right: it acknowledges the message on the subscription that could not deliver it.
resource "google_pubsub_subscription_iam_member" "acknowledge" {
  for_each = local.topics

  project      = var.project
  subscription = google_pubsub_subscription.push[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.agent
}

# Pub/Sub creates the tokens of the pushing account, on this account only.
resource "google_service_account_iam_member" "tokens" {
  service_account_id = var.pusher.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.agent
}

resource "google_cloud_scheduler_job" "rejudge" {
  project          = var.project
  name             = "gate-rejudge"
  region           = var.region
  schedule         = var.schedule
  time_zone        = "Etc/UTC"
  attempt_deadline = "120s"
  description      = "Judges admitted images again"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
  }

  http_target {
    http_method = "POST"
    uri         = "${var.uri}/v1/rejudge"
    headers     = { "Content-Type" = "application/json" }
    oidc_token {
      service_account_email = var.pusher.email
      audience              = var.uri
    }
  }
}

# Deletes the decisions that are older than store.retention of the configuration, at an hour of few builds. A run works for 90
# seconds; what is left is deleted by the next one.
resource "google_cloud_scheduler_job" "prune" {
  count = var.prune ? 1 : 0

  project          = var.project
  name             = "gate-prune"
  region           = var.region
  schedule         = "*/10 2 * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "180s"
  description      = "Deletes decisions that are older than store.retention"

  retry_config {
    retry_count          = 1
    min_backoff_duration = "30s"
  }

  http_target {
    http_method = "POST"
    uri         = "${var.uri}/v1/prune"
    headers     = { "Content-Type" = "application/json" }
    oidc_token {
      service_account_email = var.pusher.email
      audience              = var.uri
    }
  }
}

# Overrides end when their policy says, give or take these five minutes.
resource "google_cloud_scheduler_job" "expire" {
  project          = var.project
  name             = "gate-expire"
  region           = var.region
  schedule         = "*/5 * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "120s"
  description      = "Ends overrides that are past their end"

  retry_config {
    retry_count          = 1
    min_backoff_duration = "30s"
  }

  http_target {
    http_method = "POST"
    uri         = "${var.uri}/v1/expire"
    headers     = { "Content-Type" = "application/json" }
    oidc_token {
      service_account_email = var.pusher.email
      audience              = var.uri
    }
  }
}
