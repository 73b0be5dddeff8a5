# Ingress: one external HTTPS load balancer with two hosts. Programs call the API
# with ID tokens; people read the pages through IAP.

resource "google_compute_global_address" "edge" {
  project = var.project
  name    = "gate-edge"
}

# A certificate cannot be changed, and not be deleted while it is used: for other hosts another one is created first.
resource "google_compute_managed_ssl_certificate" "edge" {
  project = var.project
  name    = "gate-edge-${substr(sha256("${var.api_host},${var.pages_host}"), 0, 8)}"

  managed {
    domains = [var.api_host, var.pages_host]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_ssl_policy" "edge" {
  project         = var.project
  name            = "gate-edge"
  profile         = "RESTRICTED"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_region_network_endpoint_group" "gate" {
  project               = var.project
  name                  = "gate"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = var.service
  }
}

resource "google_compute_region_network_endpoint_group" "other" {
  for_each = var.other_regions

  project               = var.project
  name                  = "gate"
  region                = each.value
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = var.service
  }
}

locals {
  # How both backends leave out a region that fails. Serverless backends have no health checks: a region that answers ten
  # requests in a row with 502, 503 or 504 gets none for a minute, and never more than half of the regions. The gate's own
  # 503, while it waits for a scan, counts too; the other region answers the same.
  outlier = {
    failures         = 10
    most_percent     = 50
    every_seconds    = 10
    left_out_seconds = 60
  }
  outliers = length(var.other_regions) > 0 ? [local.outlier] : []
}

resource "google_compute_backend_service" "api" {
  project               = var.project
  name                  = "gate-api"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.api.id

  backend {
    group = google_compute_region_network_endpoint_group.gate.id
  }

  dynamic "backend" {
    for_each = google_compute_region_network_endpoint_group.other
    content {
      group = backend.value.id
    }
  }

  dynamic "outlier_detection" {
    for_each = local.outliers
    content {
      consecutive_gateway_failure           = outlier_detection.value.failures
      enforcing_consecutive_gateway_failure = 100
      enforcing_consecutive_errors          = 0
      enforcing_success_rate                = 0
      max_ejection_percent                  = outlier_detection.value.most_percent

      interval {
        seconds = outlier_detection.value.every_seconds
      }
      base_ejection_time {
        seconds = outlier_detection.value.left_out_seconds
      }
    }
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

resource "google_compute_backend_service" "pages" {
  project               = var.project
  name                  = "gate-pages"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.pages.id

  backend {
    group = google_compute_region_network_endpoint_group.gate.id
  }

  dynamic "backend" {
    for_each = google_compute_region_network_endpoint_group.other
    content {
      group = backend.value.id
    }
  }

  dynamic "outlier_detection" {
    for_each = local.outliers
    content {
      consecutive_gateway_failure           = outlier_detection.value.failures
      enforcing_consecutive_gateway_failure = 100
      enforcing_consecutive_errors          = 0
      enforcing_success_rate                = 0
      max_ejection_percent                  = outlier_detection.value.most_percent

      interval {
        seconds = outlier_detection.value.every_seconds
      }
      base_ejection_time {
        seconds = outlier_detection.value.left_out_seconds
      }
    }
  }

  iap {
    enabled = true
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

# To Cloud Run, IAP is the caller. The gate verifies IAP's signed header and permits reading only.
resource "google_cloud_run_v2_service_iam_member" "iap" {
  project  = var.project
  location = var.region
  name     = var.service
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${var.project_number}@gcp-sa-iap.iam.gserviceaccount.com"
}

resource "google_cloud_run_v2_service_iam_member" "iap_other" {
  for_each = var.other_regions

  project  = var.project
  location = each.value
  name     = var.service
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${var.project_number}@gcp-sa-iap.iam.gserviceaccount.com"
}

# People reach this backend through IAP.
resource "google_iap_web_backend_service_iam_member" "reader" {
  for_each = var.readers

  project             = var.project
  web_backend_service = google_compute_backend_service.pages.name
  role                = "roles/iap.httpsResourceAccessor"
  member              = each.value
}

resource "google_compute_url_map" "edge" {
  project = var.project
  name    = "gate-edge"
  # Requests for other hosts go to the backend that needs IAP.
  default_service = google_compute_backend_service.pages.id

  host_rule {
    hosts        = [var.api_host]
    path_matcher = "api"
  }

  path_matcher {
    name            = "api"
    default_service = google_compute_backend_service.api.id
  }

  host_rule {
    hosts        = [var.pages_host]
    path_matcher = "pages"
  }

  path_matcher {
    name            = "pages"
    default_service = google_compute_backend_service.pages.id
  }
}

resource "google_compute_target_https_proxy" "edge" {
  project          = var.project
  name             = "gate-edge"
  url_map          = google_compute_url_map.edge.id
  ssl_certificates = concat([google_compute_managed_ssl_certificate.edge.id], var.former_certificates)
  ssl_policy       = google_compute_ssl_policy.edge.id
}

resource "google_compute_global_forwarding_rule" "edge" {
  project               = var.project
  name                  = "gate-edge"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.edge.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.edge.id
}
