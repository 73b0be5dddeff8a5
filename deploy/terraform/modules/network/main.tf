# Egress: all traffic uses this network and one fixed address. Traffic to Google's
# APIs stays in Google's network.

resource "google_compute_network" "gate" {
  project                 = var.project
  name                    = "gate"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "gate" {
  project                  = var.project
  name                     = "gate"
  region                   = var.region
  network                  = google_compute_network.gate.id
  ip_cidr_range            = var.cidr
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_5_SEC"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Connects instances of the projects of a Shared VPC to this subnet only.
resource "google_compute_subnetwork_iam_member" "user" {
  for_each = var.subnet_users

  project    = var.project
  region     = var.region
  subnetwork = google_compute_subnetwork.gate.name
  role       = "roles/compute.networkUser"
  member     = each.value
}

resource "google_compute_subnetwork" "proxies" {
  count = var.proxy_cidr == null ? 0 : 1

  project       = var.project
  name          = "gate-proxies"
  region        = var.region
  network       = google_compute_network.gate.id
  ip_cidr_range = var.proxy_cidr
  purpose       = "REGIONAL_MANAGED_PROXY"
  role          = "ACTIVE"
}

resource "google_compute_subnetwork" "connector" {
  count = var.connector == null ? 0 : 1

  project                  = var.project
  name                     = "gate-connector"
  region                   = var.region
  network                  = google_compute_network.gate.id
  ip_cidr_range            = var.connector.cidr
  private_ip_google_access = true
}

resource "google_vpc_access_connector" "gate" {
  count = var.connector == null ? 0 : 1

  project       = var.project
  name          = "gate"
  region        = var.region
  min_instances = var.connector.min
  max_instances = var.connector.max
  machine_type  = var.connector.machine_type

  subnet {
    name       = google_compute_subnetwork.connector[0].name
    project_id = var.project
  }
}

# One address, for partners with allow lists and registries with rate limits by address.
resource "google_compute_address" "egress" {
  project = var.project
  name    = "gate-egress"
  region  = var.region
}

resource "google_compute_router" "gate" {
  project = var.project
  name    = "gate"
  region  = var.region
  network = google_compute_network.gate.id
}

resource "google_compute_router_nat" "gate" {
  project                            = var.project
  name                               = "gate"
  region                             = var.region
  router                             = google_compute_router.gate.name
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.egress.self_link]
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# Resolves run.app to private addresses, so that calls from this network count as internal.
resource "google_dns_managed_zone" "run" {
  project     = var.project
  name        = "gate-run-app"
  dns_name    = "run.app."
  description = "Cloud Run by Private Google Access"
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = google_compute_network.gate.id
    }
  }
}

resource "google_dns_record_set" "run" {
  project      = var.project
  managed_zone = google_dns_managed_zone.run.name
  name         = "*.run.app."
  type         = "A"
  ttl          = 300
  # private.googleapis.com, or an address of this network
  rrdatas = var.private_service_connect == null ? ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"] : [var.private_service_connect]
}

# Private addresses for Cloud SQL.
resource "google_compute_global_address" "services" {
  project       = var.project
  name          = "gate-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  prefix_length = 20
  network       = google_compute_network.gate.id
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.gate.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}

# An address of this network for Google's APIs, which firewalls and routes can name.
resource "google_compute_global_address" "googleapis" {
  count = var.private_service_connect == null ? 0 : 1

  project      = var.project
  name         = "gate-googleapis"
  purpose      = "PRIVATE_SERVICE_CONNECT"
  address_type = "INTERNAL"
  address      = var.private_service_connect
  network      = google_compute_network.gate.id
}

resource "google_compute_global_forwarding_rule" "googleapis" {
  count = var.private_service_connect == null ? 0 : 1

  project               = var.project
  name                  = "gategoogleapis" # letters and digits only, 20 at most: it becomes a host's name
  load_balancing_scheme = ""
  target                = "all-apis"
  network               = google_compute_network.gate.id
  ip_address            = google_compute_global_address.googleapis[0].id
}

# Further regions: each has its subnet, and leaves by an address of its own.
resource "google_compute_subnetwork" "other" {
  for_each = var.other_regions

  project                  = var.project
  name                     = "gate"
  region                   = each.key
  network                  = google_compute_network.gate.id
  ip_cidr_range            = each.value
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_5_SEC"
    flow_sampling        = 0.5
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_address" "other" {
  for_each = var.other_regions

  project = var.project
  name    = "gate-egress"
  region  = each.key
}

resource "google_compute_router" "other" {
  for_each = var.other_regions

  project = var.project
  name    = "gate"
  region  = each.key
  network = google_compute_network.gate.id
}

resource "google_compute_router_nat" "other" {
  for_each = var.other_regions

  project                            = var.project
  name                               = "gate"
  region                             = each.key
  router                             = google_compute_router.other[each.key].name
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = [google_compute_address.other[each.key].self_link]
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}
