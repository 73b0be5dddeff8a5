output "address" {
  description = "Address for the internal host's A record."
  value       = google_compute_forwarding_rule.gate.ip_address
}
