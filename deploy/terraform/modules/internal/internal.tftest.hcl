mock_provider "google" {}

variables {
  project     = "acme-gate"
  region      = "us-east1"
  network     = "projects/acme-gate/global/networks/gate"
  subnetwork  = "projects/acme-gate/regions/us-east1/subnetworks/gate"
  service     = "gate"
  certificate = "projects/acme-gate/regions/us-east1/sslCertificates/gate"
}

run "inside" {
  command = apply

  assert {
    condition     = google_compute_forwarding_rule.gate.load_balancing_scheme == "INTERNAL_MANAGED" && google_compute_forwarding_rule.gate.port_range == "443" && google_compute_region_backend_service.gate.load_balancing_scheme == "INTERNAL_MANAGED"
    error_message = "The load balancer is reached from the Internet, or by plain HTTP."
  }
  assert {
    condition     = google_compute_region_ssl_policy.gate.min_tls_version == "TLS_1_2" && google_compute_region_target_https_proxy.gate.ssl_policy == google_compute_region_ssl_policy.gate.id
    error_message = "Something older than TLS 1.2 is answered."
  }
}
