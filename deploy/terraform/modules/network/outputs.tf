output "network" {
  description = "The network's id; it waits for the subnet of proxies, which an internal load balancer needs."
  value       = google_compute_network.gate.id
  depends_on  = [google_compute_subnetwork.proxies]
}

output "subnetwork" {
  description = "The services' subnet."
  value       = google_compute_subnetwork.gate.id
}

output "connector" {
  description = "The connector's id; null with Direct VPC egress."
  value       = one(google_vpc_access_connector.gate[*].id)
}

output "peering" {
  description = "Dependency of a private database."
  value       = google_service_networking_connection.services.id
}

output "egress_address" {
  description = "The egress address."
  value       = google_compute_address.egress.address
}

output "subnetworks" {
  description = "The services' subnet in each region."
  value       = merge({ (var.region) = google_compute_subnetwork.gate.id }, { for region, s in google_compute_subnetwork.other : region => s.id })
}

output "egress_addresses" {
  description = "The egress address of each region."
  value       = merge({ (var.region) = google_compute_address.egress.address }, { for region, a in google_compute_address.other : region => a.address })
}
