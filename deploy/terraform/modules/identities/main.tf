# The service accounts. None has a downloadable key or a basic role.

variable "project" {
  description = "Project of the two services."
  type        = string
}

variable "build_project" {
  description = "Project in which images are built."
  type        = string
}

variable "people" {
  description = "Task to the members that may perform it, such as {oncall = [\"group:oncall@acme.example\"]}. People cannot get ID tokens of their own for the gate's audience. They call as the service account gate-TASK; the audit log names the person."
  type        = map(set(string))
  default     = {}

  # IAM: account ids have 6 to 30 characters. gate- takes five of them.
  validation {
    condition     = alltrue([for task in keys(var.people) : can(regex("^[a-z]([a-z0-9-]{0,23}[a-z0-9])?$", task))])
    error_message = "A task has at most 25 characters (a-z, 0-9 and -), since its service account is gate-TASK and may have 30."
  }

  validation {
    condition     = length(setintersection(keys(var.people), ["api", "events", "pusher", "builder"])) == 0
    error_message = "api, events, pusher and builder are service accounts of the gate's own: give the task another name."
  }

  validation {
    condition     = !anytrue([for task in keys(var.people) : startswith(task, "ci-")])
    error_message = "gate-ci-… are service accounts of module federation: give the task another name."
  }
}

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

output "gate" {
  description = "The gate's service account."
  value       = { email = google_service_account.gate.email, member = google_service_account.gate.member, name = google_service_account.gate.name }
}

output "events" {
  description = "The service account of gate-events."
  value       = { email = google_service_account.events.email, member = google_service_account.events.member, name = google_service_account.events.name }
}

output "pusher" {
  description = "Service account of calls by Pub/Sub and Cloud Scheduler."
  value       = { email = google_service_account.pusher.email, member = google_service_account.pusher.member, name = google_service_account.pusher.name }
}

output "builder" {
  description = "The service account that builds run as."
  value       = { email = google_service_account.builder.email, member = google_service_account.builder.member, name = google_service_account.builder.name }
}

output "people" {
  description = "Service accounts that people call with; callers of gate."
  value       = [for a in google_service_account.task : a.member]
}
