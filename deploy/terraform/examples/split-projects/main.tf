# The usual split: the gate runs in one project. Keys and attestations are in a
# second one that only the gate can write to, images in a third. Any number of
# projects build and deploy; an owner of one of these cannot admit an image.

provider "google" {
  project = var.gate_project
  region  = var.region
}

provider "google-beta" {
  project = var.gate_project
  region  = var.region
}

data "google_project" "gate" {
  project_id = var.gate_project
}

data "google_project" "protected" {
  for_each = toset([var.keys_project, var.images_project])

  project_id = each.value
}

data "google_project" "deploy" {
  for_each = var.deploy_projects

  project_id = each.value
}

locals {
  # Numbers of the projects that deploy images; the gate's own is one of them.
  deploying = concat([data.google_project.gate.number], [for p in data.google_project.deploy : p.number])
  files     = { for path, file in var.files : replace(trimprefix(dirname(path), "/etc/attestor/"), "/", "-") => { path = path, text = file(file) } }
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

  projects = merge(
    { for p in var.deploy_projects : p => ["deploy"] },
    {
      (var.gate_project)   = ["gate", "deploy"] # the gate's own images are admitted by the gate
      (var.keys_project)   = ["keys"]
      (var.images_project) = ["images"]
      (var.build_project)  = ["build"]
    },
  )
}

module "identities" {
  source     = "../../modules/identities"
  depends_on = [module.apis]

  project       = var.gate_project
  build_project = var.build_project
  people        = var.people
}

module "registry" {
  source     = "../../modules/registry"
  depends_on = [module.apis]

  project      = var.images_project
  region       = var.region
  repository   = "prod"
  gate_members = { gate = module.identities.gate.member, events = module.identities.events.member }
  pushers      = [module.identities.builder.member]
}

module "signing" {
  source     = "../../modules/signing"
  depends_on = [module.apis]

  project       = var.keys_project
  location      = var.region
  signer_member = module.identities.gate.member
  events_member = module.identities.events.member
  verifiers = setunion(
    ["service-${data.google_project.gate.number}@gcp-sa-binaryauthorization.iam.gserviceaccount.com"],
    [for p in data.google_project.deploy : "service-${p.number}@gcp-sa-binaryauthorization.iam.gserviceaccount.com"],
  )
}

module "log" {
  source     = "../../modules/log"
  depends_on = [module.apis]

  project      = var.keys_project
  location     = var.region
  bucket       = "${var.gate_project}-log"
  origin       = "${var.api_host}/decisions"
  gate_members = { gate = module.identities.gate.member, events = module.identities.events.member }
}

module "summaries" {
  source     = "../../modules/summaries"
  depends_on = [module.apis, module.registry]
  count      = var.summaries ? 1 : 0

  project      = var.keys_project
  location     = var.region
  verifier     = "https://${var.api_host}"
  repository   = { project = var.images_project, location = var.region, name = "prod" }
  gate_members = { gate = module.identities.gate.member, events = module.identities.events.member }
}

module "exports" {
  source     = "../../modules/exports"
  depends_on = [module.apis]
  count      = length(var.auditors) > 0 ? 1 : 0

  project  = var.keys_project
  location = var.region
  bucket   = "${var.gate_project}-exports"
  writers  = module.identities.people
  readers  = var.auditors
}

module "admission" {
  source     = "../../modules/admission"
  depends_on = [module.apis]
  for_each   = setunion([var.gate_project], var.deploy_projects)

  project  = each.value
  attestor = module.signing.attestor
  enforce  = contains(var.enforced_projects, each.value)
  clusters = try(var.clusters[each.value], {})
}

module "network" {
  source     = "../../modules/network"
  depends_on = [module.apis]

  project                 = var.gate_project
  region                  = var.region
  other_regions           = var.other_regions
  private_service_connect = var.private_service_connect
  # For the proxies of the internal load balancer.
  proxy_cidr = var.internal_certificate == null ? null : "10.10.1.0/24"
}

module "database" {
  source     = "../../modules/database"
  depends_on = [module.apis]

  name           = var.database_name
  project        = var.gate_project
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

  project            = var.keys_project
  location           = var.region
  run_project_number = data.google_project.gate.number
}

module "encryption_other" {
  source     = "../../modules/encryption"
  depends_on = [module.apis]
  for_each   = var.encrypt ? var.other_regions : {}

  project            = var.keys_project
  location           = each.key
  run_project_number = data.google_project.gate.number
}

module "gate" {
  source     = "../../modules/service"
  depends_on = [module.apis, google_artifact_registry_repository_iam_member.deploy]

  project              = var.gate_project
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
  invokers = setunion(
    [module.identities.builder.member],
    module.identities.people,
    [for email in values(module.federation.callers) : "serviceAccount:${email}"],
    var.callers,
  )
}

# The same service in each further region. Its state is in the one database.
module "gate_other" {
  source     = "../../modules/service"
  depends_on = [module.apis, google_artifact_registry_repository_iam_member.deploy]
  for_each   = var.other_regions

  project              = var.gate_project
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
  invokers = setunion(
    [module.identities.builder.member],
    module.identities.people,
    [for email in values(module.federation.callers) : "serviceAccount:${email}"],
    var.callers,
  )
}

module "gate_events" {
  source     = "../../modules/service"
  depends_on = [module.apis, google_artifact_registry_repository_iam_member.deploy]

  project              = var.gate_project
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

  project        = var.gate_project
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

  project         = var.gate_project
  project_number  = data.google_project.gate.number
  region          = var.region
  uri             = module.gate_events.uri
  pusher          = module.identities.pusher
  events_member   = module.identities.events.member
  existing_topics = var.existing_topics
  topics = {
    (var.build_project)  = ["cloud-builds"]
    (var.images_project) = ["container-analysis-occurrences-v1", "gcr"]
  }
}

# A project that deploys an image reads it.
resource "google_artifact_registry_repository_iam_member" "deploy" {
  for_each = merge({ (var.gate_project) = data.google_project.gate.number }, { for p in data.google_project.deploy : p.project_id => p.number })

  project    = var.images_project
  location   = var.region
  repository = "prod"
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:service-${each.value}@serverless-robot-prod.iam.gserviceaccount.com"

  depends_on = [module.registry]
}

module "build" {
  source     = "../../modules/build"
  depends_on = [module.apis]
  for_each   = var.builds

  project         = var.build_project
  region          = var.region
  owner           = each.value.owner
  repository      = each.value.repository
  service_account = module.identities.builder.name
  image           = "${module.registry.repository}/${each.key}"
  gate_image      = var.image
  gate_url        = "https://${var.api_host}"
}

module "internal" {
  source     = "../../modules/internal"
  depends_on = [module.apis]
  count      = var.internal_certificate == null ? 0 : 1

  project     = var.gate_project
  region      = var.region
  network     = module.network.network
  subnetwork  = module.network.subnetwork
  service     = module.gate.name
  certificate = var.internal_certificate
}

module "federation" {
  source     = "../../modules/federation"
  depends_on = [module.apis]

  project        = var.gate_project
  project_number = data.google_project.gate.number
  pool           = var.ci_pool
  oidc           = var.ci
  callers        = var.ci_callers
}

locals {
  # Who passes the perimeter, by a name for the rule; a rule without anybody is none.
  ingress = { for name, rule in {
    gate = {
      identities = [module.identities.gate.member, module.identities.events.member]
      services   = ["artifactregistry.googleapis.com", "containeranalysis.googleapis.com", "binaryauthorization.googleapis.com", "cloudkms.googleapis.com"]
      projects   = [data.google_project.gate.number]
    }
    builds = {
      identities = [module.identities.builder.member]
      services   = ["artifactregistry.googleapis.com"]
      projects   = []
    }
    # Cloud Run's agents pull the images that are deployed, and Binary Authorization's agents read their attestations.
    pulls = {
      identities = [for n in local.deploying : "serviceAccount:service-${n}@serverless-robot-prod.iam.gserviceaccount.com"]
      services   = ["artifactregistry.googleapis.com"]
      projects   = []
    }
    admission = {
      identities = [for n in local.deploying : "serviceAccount:service-${n}@gcp-sa-binaryauthorization.iam.gserviceaccount.com"]
      services   = ["binaryauthorization.googleapis.com", "containeranalysis.googleapis.com"]
      projects   = []
    }
    # Cloud Run decrypts the services with the key, each time that an instance starts.
    encryption = {
      identities = var.encrypt ? ["serviceAccount:service-${data.google_project.gate.number}@serverless-robot-prod.iam.gserviceaccount.com"] : []
      services   = ["cloudkms.googleapis.com"]
      projects   = []
    }
    # The next apply reads and changes what is inside.
    operators = {
      identities = [for o in var.operators : o]
      services   = ["artifactregistry.googleapis.com", "containeranalysis.googleapis.com", "binaryauthorization.googleapis.com", "cloudkms.googleapis.com"]
      projects   = []
    }
  } : name => rule if length(rule.identities) > 0 }
}

module "guardrails" {
  source = "../../modules/guardrails"
  count  = var.organization == null ? 0 : 1

  organization       = var.organization
  access_policy      = var.access_policy
  protected_projects = [for p in data.google_project.protected : p.number]
  enforce_perimeter  = var.enforce_perimeter
  scope              = var.scope
  ingress            = merge(local.ingress, var.ingress)
}

module "monitoring" {
  source     = "../../modules/monitoring"
  depends_on = [module.apis]

  project               = var.gate_project
  notification_channels = var.notification_channels
  runbook               = var.runbook
  collected             = var.collector_image != null
}
