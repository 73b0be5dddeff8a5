output "name" {
  description = "Name of the service."
  value       = google_cloud_run_v2_service.gate.name
}

output "uri" {
  description = "Its run.app address, which is disabled with default_url_disabled."
  value       = google_cloud_run_v2_service.gate.uri
}

output "region" {
  description = "Its region."
  value       = google_cloud_run_v2_service.gate.location
}
