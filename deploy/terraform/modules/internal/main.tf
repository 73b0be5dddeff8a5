# Ingress without the Internet: an internal HTTPS load balancer in the gate's
# network, instead of module edge or in addition to it.

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
