# Egress: all traffic uses this network and one fixed address. Traffic to Google's
# APIs stays in Google's network.

variable "project" {
  description = "Project of the network: the gate's, or the host project of a Shared VPC."
  type        = string
}

variable "region" {
  description = "Region of the services."
  type        = string
}

variable "cidr" {
  description = "Range of the services' subnet: two to four addresses for each instance, /26 at least."
  type        = string
  default     = "10.10.0.0/24"
}

variable "proxy_cidr" {
  description = "Range for the proxies of an internal load balancer; null: no internal load balancer."
  type        = string
  default     = null
}

variable "subnet_users" {
  description = "Members that may connect services to the subnet: the Cloud Run service agent of each project that uses a Shared VPC."
  type        = set(string)
  default     = []
}

variable "connector" {
  description = "A Serverless VPC Access connector instead of Direct VPC egress: {cidr, min, max, machine_type}; null: Direct VPC egress, which needs no machines."
  type = object({
    cidr         = string
    min          = number
    max          = number
    machine_type = string
  })
  default = null
}

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
  # private.googleapis.com
  rrdatas = ["199.36.153.8", "199.36.153.9", "199.36.153.10", "199.36.153.11"]
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

output "network" {
  description = "The network's id."
  value       = google_compute_network.gate.id
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
