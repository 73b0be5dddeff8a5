mock_provider "google" {
  mock_resource "google_compute_security_policy" {
    defaults = { id = "projects/acme-gate/global/securityPolicies/p" }
  }
}

variables {
  project        = "acme-gate"
  project_number = "123456789012"
  region         = "us-east1"
  service        = "gate"
  api_host       = "gate.acme.example"
  pages_host     = "gate-pages.acme.example"
  readers        = ["group:security@acme.example"]
}

run "controls" {
  command = apply

  assert {
    condition     = google_compute_region_network_endpoint_group.gate.network_endpoint_type == "SERVERLESS" && google_compute_region_network_endpoint_group.gate.cloud_run[0].service == "gate"
    error_message = "The load balancer does not front the service."
  }
  assert {
    condition     = google_compute_ssl_policy.edge.min_tls_version == "TLS_1_2" && google_compute_ssl_policy.edge.profile == "RESTRICTED" && google_compute_global_forwarding_rule.edge.port_range == "443"
    error_message = "Something older than TLS 1.2, or plain HTTP, is answered."
  }
  assert {
    condition     = google_compute_managed_ssl_certificate.edge.managed[0].domains == tolist(["gate.acme.example", "gate-pages.acme.example"])
    error_message = "The certificate is for other hosts."
  }
  assert {
    condition     = google_compute_managed_ssl_certificate.edge.name != "gate-edge" && can(regex("^gate-edge-[0-9a-f]{8}$", google_compute_managed_ssl_certificate.edge.name))
    error_message = "A certificate for other hosts would have the same name, and could not be created before the old one is deleted."
  }
  assert {
    condition     = google_compute_backend_service.pages.iap[0].enabled && google_compute_backend_service.pages.security_policy == google_compute_security_policy.pages.id && google_compute_backend_service.api.security_policy == google_compute_security_policy.api.id
    error_message = "Pages are open, or a host has no Cloud Armor."
  }
  assert {
    condition = alltrue([for policy in [google_compute_security_policy.api, google_compute_security_policy.pages] : alltrue([for waf in ["sqli-v33-stable", "xss-v33-stable"] :
      anytrue([for r in policy.rule : r.action == "deny(403)" && anytrue([for m in r.match : anytrue([for e in m.expr : strcontains(e.expression, waf)])])])
    ])])
    error_message = "SQL injection or cross-site scripting is not denied with 403."
  }
  assert {
    condition     = one([for r in google_compute_security_policy.pages.rule : [r.rate_limit_options[0].rate_limit_threshold[0].count, r.rate_limit_options[0].rate_limit_threshold[0].interval_sec, r.rate_limit_options[0].ban_duration_sec] if r.action == "rate_based_ban"]) == [100, 60, 600]
    error_message = "The pages' ban is another."
  }
  assert {
    condition     = one([for r in google_compute_security_policy.api.rule : "${r.rate_limit_options[0].exceed_action} ${r.rate_limit_options[0].enforce_on_key}" if r.action == "throttle"]) == "deny(429) IP" && !anytrue([for r in google_compute_security_policy.api.rule : r.action == "rate_based_ban"])
    error_message = "Builds that share an address ban each other, or are not throttled."
  }
  assert {
    condition     = google_compute_url_map.edge.default_service == google_compute_backend_service.pages.id
    error_message = "Another host gets what needs no IAP."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.iap.member == "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com" && [for r in google_iap_web_backend_service_iam_member.reader : r.member] == ["group:security@acme.example"]
    error_message = "Others than readers come in by IAP."
  }
}

run "regions" {
  command = apply
  variables { other_regions = ["us-east4"] }

  assert {
    condition     = length(google_compute_backend_service.api.backend) == 2 && length(google_compute_backend_service.pages.backend) == 2 && google_compute_region_network_endpoint_group.other["us-east4"].region == "us-east4"
    error_message = "A region is not behind the load balancer."
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.iap_other["us-east4"].location == "us-east4"
    error_message = "IAP may not call the service of a region."
  }
  assert {
    condition     = alltrue([for b in [google_compute_backend_service.api, google_compute_backend_service.pages] : b.outlier_detection[0].consecutive_gateway_failure == 10 && b.outlier_detection[0].max_ejection_percent == 50])
    error_message = "A region that fails goes on getting requests."
  }
}
