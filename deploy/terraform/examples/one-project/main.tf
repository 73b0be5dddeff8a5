# Everything in one project: for a trial, or for one team. If builders must not be
# able to sign, see ../split-projects.

provider "google" {
  project = var.project
  region  = var.region
}

provider "google-beta" {
  project = var.project
  region  = var.region
}

data "google_project" "gate" {
  project_id = var.project
}

locals {
  files = { for path, file in var.files : replace(trimprefix(dirname(path), "/etc/attestor/"), "/", "-") => { path = path, text = file(file) } }
}

locals {
  # Sections of the configuration that come from resources here.
  settings = merge(
    var.rates == null ? {} : { dependencies = { rates = var.rates } },
    var.summaries ? { vsa = module.summaries[0].vsa } : {},
  )
}

module "apis" {
  source = "../../modules/apis"

  projects = { (var.project) = ["gate", "keys", "images", "deploy", "build"] }
}

module "identities" {
  source     = "../../modules/identities"
  depends_on = [module.apis]

  project       = var.project
  build_project = var.project
  people        = var.people
}

module "registry" {
  source     = "../../modules/registry"
  depends_on = [module.apis]

  project      = var.project
  region       = var.region
  repository   = "prod"
  gate_members = { gate = module.identities.gate.member, events = module.identities.events.member }
  pushers      = [module.identities.builder.member]
}

module "signing" {
  source     = "../../modules/signing"
  depends_on = [module.apis]

  project       = var.project
  location      = var.region
  signer_member = module.identities.gate.member
  events_member = module.identities.events.member
  verifiers     = ["service-${data.google_project.gate.number}@gcp-sa-binaryauthorization.iam.gserviceaccount.com"]
}

module "log" {
  source     = "../../modules/log"
  depends_on = [module.apis]

  project      = var.project
  location     = var.region
  bucket       = "${var.project}-log"
  origin       = "${var.api_host}/decisions"
  gate_members = { gate = module.identities.gate.member, events = module.identities.events.member }
}

module "summaries" {
  source     = "../../modules/summaries"
  depends_on = [module.apis, module.registry]
  count      = var.summaries ? 1 : 0

  project      = var.project
  location     = var.region
  verifier     = "https://${var.api_host}"
  repository   = { project = var.project, location = var.region, name = "prod" }
  gate_members = { gate = module.identities.gate.member, events = module.identities.events.member }
}

module "exports" {
  source     = "../../modules/exports"
  depends_on = [module.apis]
  count      = length(var.auditors) > 0 ? 1 : 0

  project  = var.project
  location = var.region
  bucket   = "${var.project}-exports"
  writers  = module.identities.people
  readers  = var.auditors
}

module "admission" {
  source     = "../../modules/admission"
  depends_on = [module.apis]

  project  = var.project
  attestor = module.signing.attestor
  enforce  = var.enforce
  clusters = var.clusters
}

module "network" {
  source     = "../../modules/network"
  depends_on = [module.apis]

  project       = var.project
  region        = var.region
  other_regions = var.other_regions
}

module "database" {
  source     = "../../modules/database"
  depends_on = [module.apis]

  name           = var.database_name
  project        = var.project
  region         = var.region
  network        = module.network.network
  peering        = module.network.peering
  replica_region = var.replica_region
  promoted       = var.database_promoted
  users          = { gate = module.identities.gate.email, events = module.identities.events.email }
}

module "encryption" {
  source     = "../../modules/encryption"
  depends_on = [module.apis]
  count      = var.encrypt ? 1 : 0

  project            = var.project
  location           = var.region
  run_project_number = data.google_project.gate.number
}

module "encryption_other" {
  source     = "../../modules/encryption"
  depends_on = [module.apis]
  for_each   = var.encrypt ? var.other_regions : {}

  project            = var.project
  location           = each.key
  run_project_number = data.google_project.gate.number
}

module "gate" {
  source     = "../../modules/service"
  depends_on = [module.apis]

  project              = var.project
  region               = var.region
  name                 = "gate"
  image                = var.image
  proxy_image          = var.proxy_image
  collector_image      = var.collector_image
  service_account      = module.identities.gate.email
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_url_disabled = true
  audiences            = ["https://${var.api_host}"]
  network              = module.network.network
  subnetwork           = module.network.subnetwork
  kms_key              = one(module.encryption[*].key)
  connection_name      = module.database.connection_name
  connection_string    = module.database.connection_strings["gate"]
  config               = file(var.gate_config)
  policies             = { main = file(var.policy) }
  files                = local.files
  hash_key             = var.hash_key
  settings             = local.settings
  invokers             = setunion([module.identities.builder.member], module.identities.people, var.callers)
}

# The same service in each further region. Its state is in the one database.
module "gate_other" {
  source     = "../../modules/service"
  depends_on = [module.apis]
  for_each   = var.other_regions

  project              = var.project
  region               = each.key
  name                 = "gate"
  image                = var.image
  proxy_image          = var.proxy_image
  collector_image      = var.collector_image
  service_account      = module.identities.gate.email
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_url_disabled = true
  audiences            = ["https://${var.api_host}"]
  network              = module.network.network
  subnetwork           = module.network.subnetworks[each.key]
  kms_key              = var.encrypt ? module.encryption_other[each.key].key : null
  connection_name      = module.database.connection_name
  connection_string    = module.database.connection_strings["gate"]
  suffix               = "-${each.key}"
  config               = file(var.gate_config)
  policies             = { main = file(var.policy) }
  files                = local.files
  hash_key             = var.hash_key
  settings             = local.settings
  invokers             = setunion([module.identities.builder.member], module.identities.people, var.callers)
}

module "gate_events" {
  source     = "../../modules/service"
  depends_on = [module.apis]

  project              = var.project
  region               = var.region
  name                 = "gate-events"
  image                = var.image
  proxy_image          = var.proxy_image
  collector_image      = var.collector_image
  service_account      = module.identities.events.email
  ingress              = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  default_url_disabled = false
  network              = module.network.network
  subnetwork           = module.network.subnetwork
  kms_key              = one(module.encryption[*].key)
  connection_name      = module.database.connection_name
  connection_string    = module.database.connection_strings["events"]
  config               = file(var.events_config)
  policies             = { main = file(var.policy) }
  files                = local.files
  hash_key             = var.hash_key
  settings             = local.settings
  invokers             = [module.identities.pusher.member]
}

module "edge" {
  source     = "../../modules/edge"
  depends_on = [module.apis]

  project        = var.project
  project_number = data.google_project.gate.number
  region         = var.region
  service        = module.gate.name
  other_regions  = toset([for g in module.gate_other : g.region])
  api_host       = var.api_host
  pages_host     = var.pages_host
  readers        = var.readers

  former_certificates = var.former_certificates
}

module "events" {
  source     = "../../modules/events"
  depends_on = [module.apis]

  project         = var.project
  project_number  = data.google_project.gate.number
  region          = var.region
  uri             = module.gate_events.uri
  pusher          = module.identities.pusher
  events_member   = module.identities.events.member
  existing_topics = var.existing_topics
  topics          = { (var.project) = ["cloud-builds", "container-analysis-occurrences-v1", "gcr"] }
}

# The record as a BigQuery table. Name its topic in both configurations: docs/events.md.
module "warehouse" {
  source     = "../../modules/warehouse"
  depends_on = [module.apis]

  project        = var.project
  project_number = data.google_project.gate.number
  location       = var.region
  publishers     = [module.identities.gate.member, module.identities.events.member]
}

module "monitoring" {
  source     = "../../modules/monitoring"
  depends_on = [module.apis]

  project               = var.project
  notification_channels = var.notification_channels
  runbook               = var.runbook
  collected             = var.collector_image != null
}
