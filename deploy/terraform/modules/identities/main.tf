# The service accounts. None has a downloadable key or a basic role.

resource "google_service_account" "gate" {
  project      = var.project
  account_id   = "gate-api" # six letters at least
  display_name = "Admission gate: API and pages"
}

resource "google_service_account" "events" {
  project      = var.project
  account_id   = "gate-events"
  display_name = "Admission gate: events and re-judging"
}

resource "google_service_account" "pusher" {
  project      = var.project
  account_id   = "gate-pusher"
  display_name = "Pub/Sub and Cloud Scheduler, when they call gate-events"
}

resource "google_service_account" "builder" {
  project      = var.build_project
  account_id   = "gate-builder"
  display_name = "Builds images and asks the gate to attest them"
}

resource "google_service_account" "task" {
  for_each = var.people

  project      = var.project
  account_id   = "gate-${each.key}"
  display_name = "People, when they call the gate: ${each.key}"
}

locals {
  takers = merge([for task, members in var.people : {
    for m in members : "${task} ${m}" => { task = task, member = m }
  }]...)
}

# Creates ID tokens of this account only, and no access tokens.
resource "google_service_account_iam_member" "taker" {
  for_each = local.takers

  service_account_id = google_service_account.task[each.value.task].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = each.value.member
}

locals {
  services = { gate = google_service_account.gate.member, events = google_service_account.events.member }
}

# Connects to Cloud SQL and logs in as the service account. Both are granted by project only.
resource "google_project_iam_member" "sql_client" {
  for_each = local.services

  project = var.project
  role    = "roles/cloudsql.client"
  member  = each.value
}

resource "google_project_iam_member" "sql_user" {
  for_each = local.services

  project = var.project
  role    = "roles/cloudsql.instanceUser"
  member  = each.value
}

# Writes spans.
resource "google_project_iam_member" "trace" {
  for_each = local.services

  project = var.project
  role    = "roles/cloudtrace.agent"
  member  = each.value
}

# Writes metrics: the collector's sidecar runs as the gate's service account.
resource "google_project_iam_member" "metrics" {
  for_each = local.services

  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = each.value
}

# Creates its own ID token inside a build, on this account only: the metadata server of Cloud Build has none.
resource "google_service_account_iam_member" "builder_token" {
  service_account_id = google_service_account.builder.name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = google_service_account.builder.member
}

# A build that runs as its own account writes its own logs.
resource "google_project_iam_member" "builder_logs" {
  project = var.build_project
  role    = "roles/logging.logWriter"
  member  = google_service_account.builder.member
}
