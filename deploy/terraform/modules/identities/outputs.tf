output "gate" {
  description = "The gate's service account; it waits until the account may log in to the database."
  value       = { email = google_service_account.gate.email, member = google_service_account.gate.member, name = google_service_account.gate.name }
  depends_on  = [google_project_iam_member.sql_client, google_project_iam_member.sql_user]
}

output "events" {
  description = "The service account of gate-events; it waits until the account may log in to the database."
  value       = { email = google_service_account.events.email, member = google_service_account.events.member, name = google_service_account.events.name }
  depends_on  = [google_project_iam_member.sql_client, google_project_iam_member.sql_user]
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
