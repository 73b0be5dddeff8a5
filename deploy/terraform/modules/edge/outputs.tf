output "address" {
  description = "Address for the A records of both hosts."
  value       = google_compute_global_address.edge.address
}

output "iap_audience" {
  description = "identity.iapAudience of the gate's configuration."
  value       = "/projects/${var.project_number}/global/backendServices/${google_compute_backend_service.pages.generated_id}"
}
