# Ingress without the Internet: an internal HTTPS load balancer in the gate's
# network, instead of module edge or in addition to it.

variable "project" {
  description = "Project of the gate."
  type        = string
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "network" {
  description = "Network of the load balancer; it needs a subnet for proxies (proxy_cidr of module network)."
  type        = string
}

variable "subnetwork" {
  description = "Subnet of its address."
  type        = string
}

variable "service" {
  description = "Name of the service behind the load balancer."
  type        = string
}

variable "certificate" {
  description = "A regional certificate of the API's internal host: projects/P/regions/R/sslCertificates/C."
  type        = string
}

resource "google_compute_region_network_endpoint_group" "gate" {
  project               = var.project
  name                  = "gate-internal"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = var.service
  }
}

resource "google_compute_region_backend_service" "gate" {
  project               = var.project
  name                  = "gate-internal"
  region                = var.region
  load_balancing_scheme = "INTERNAL_MANAGED"
  protocol              = "HTTPS"

  backend {
    group           = google_compute_region_network_endpoint_group.gate.id
    balancing_mode  = "UTILIZATION"
    capacity_scaler = 1.0
  }
}

resource "google_compute_region_url_map" "gate" {
  project         = var.project
  name            = "gate-internal"
  region          = var.region
  default_service = google_compute_region_backend_service.gate.id
}

resource "google_compute_region_ssl_policy" "gate" {
  project         = var.project
  name            = "gate-internal"
  region          = var.region
  profile         = "RESTRICTED"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_region_target_https_proxy" "gate" {
  project          = var.project
  name             = "gate-internal"
  region           = var.region
  url_map          = google_compute_region_url_map.gate.id
  ssl_certificates = [var.certificate]
  ssl_policy       = google_compute_region_ssl_policy.gate.id
}

resource "google_compute_forwarding_rule" "gate" {
  project               = var.project
  name                  = "gate-internal"
  region                = var.region
  load_balancing_scheme = "INTERNAL_MANAGED"
  ip_protocol           = "TCP"
  port_range            = "443"
  target                = google_compute_region_target_https_proxy.gate.id
  network               = var.network
  subnetwork            = var.subnetwork
}

output "address" {
  description = "Address for the internal host's A record."
  value       = google_compute_forwarding_rule.gate.ip_address
}
