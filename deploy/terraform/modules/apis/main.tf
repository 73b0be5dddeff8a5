# The Google APIs that each part of the set-up needs, in its project.

locals {
  apis = {
    gate = [
      "run.googleapis.com", "compute.googleapis.com", "servicenetworking.googleapis.com", "sqladmin.googleapis.com",
      "secretmanager.googleapis.com", "pubsub.googleapis.com", "cloudscheduler.googleapis.com", "iap.googleapis.com",
      "monitoring.googleapis.com", "logging.googleapis.com", "cloudtrace.googleapis.com", "iamcredentials.googleapis.com",
      "sts.googleapis.com", "binaryauthorization.googleapis.com", "dns.googleapis.com", "bigquery.googleapis.com",
      "iam.googleapis.com", "vpcaccess.googleapis.com",
    ]
    keys   = ["cloudkms.googleapis.com", "containeranalysis.googleapis.com", "binaryauthorization.googleapis.com", "storage.googleapis.com"]
    images = ["artifactregistry.googleapis.com", "containeranalysis.googleapis.com", "containerscanning.googleapis.com", "ondemandscanning.googleapis.com", "pubsub.googleapis.com"]
    deploy = ["run.googleapis.com", "binaryauthorization.googleapis.com"]
    build  = ["cloudbuild.googleapis.com", "iam.googleapis.com", "iamcredentials.googleapis.com", "pubsub.googleapis.com"]
  }
  wanted = merge([for project, roles in var.projects : {
    for api in distinct(flatten([for r in roles : local.apis[r]])) : "${project}/${api}" => { project = project, api = api }
  }]...)
}

# Google's service agents that get roles here. Enabling an API does not create its agent at once, and IAM refuses a member that
# does not exist: whatever grants a role to an agent depends on this module.
locals {
  agents = {
    gate   = ["run.googleapis.com", "iap.googleapis.com", "pubsub.googleapis.com"]
    keys   = ["binaryauthorization.googleapis.com"] # reads the attestations of the note, for the attestor
    images = []
    deploy = ["run.googleapis.com", "binaryauthorization.googleapis.com"]
    build  = []
  }
  expected = merge([for project, roles in var.projects : {
    for api in distinct(flatten([for r in roles : local.agents[r]])) : "${project}/${api}" => { project = project, api = api }
  }]...)
}

resource "google_project_service_identity" "agent" {
  provider = google-beta
  for_each = local.expected

  project = each.value.project
  service = each.value.api

  depends_on = [google_project_service.api]
}

# IAM learns of a new agent within a minute, and refuses it until then; the provider does not ask again. This waits once for
# each set of agents.
resource "terraform_data" "agents" {
  count = var.settle > 0 ? 1 : 0

  triggers_replace = keys(local.expected)

  provisioner "local-exec" {
    command = "sleep ${var.settle}"
  }

  depends_on = [google_project_service_identity.agent]
}

resource "google_project_service" "api" {
  for_each = local.wanted

  project = each.value.project
  service = each.value.api
  # Other programs may use the API too.
  disable_on_destroy = false
}
