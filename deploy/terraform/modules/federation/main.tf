# CI outside Google calls the gate without a downloaded key: it exchanges its own
# token for one of a service account that may only call the gate.

variable "project" {
  description = "Project of the pool."
  type        = string
}

variable "project_number" {
  description = "Its number."
  type        = string
}

variable "oidc" {
  description = "Provider to {issuer, condition, attributes}: condition is CEL over assertion and must restrict the organisation; otherwise every identity of that issuer is admitted. attributes are mapped in addition to google.subject."
  type = map(object({
    issuer     = string
    condition  = string
    attributes = map(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for p in values(var.oidc) : strcontains(p.condition, "assertion.")])
    error_message = "The condition says whose tokens count."
  }

  validation {
    condition     = alltrue([for name in keys(var.oidc) : can(regex("^[a-z0-9-]{4,32}$", name)) && !startswith(name, "gcp-")])
    error_message = "A provider's name has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}

variable "aws_accounts" {
  description = "AWS accounts whose roles may call, by provider name."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.aws_accounts) : can(regex("^[a-z0-9-]{4,32}$", name)) && !startswith(name, "gcp-")])
    error_message = "A provider's name has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}

variable "saml" {
  description = "SAML 2.0 providers: name to the XML of their metadata."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.saml) : can(regex("^[a-z0-9-]{4,32}$", name)) && !startswith(name, "gcp-")])
    error_message = "A provider's name has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}

variable "callers" {
  description = "Caller to the last part of a principalSet, such as attribute.repository/acme/api or attribute.aws_role/builder."
  type        = map(string)

  # IAM: account ids have at most 30 characters. gate-ci- takes eight of them.
  validation {
    condition     = alltrue([for name in keys(var.callers) : can(regex("^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$", name))])
    error_message = "A caller has at most 22 characters (a-z, 0-9 and -), since its service account is gate-ci-CALLER and may have 30."
  }
}

resource "google_iam_workload_identity_pool" "ci" {
  project                   = var.project
  workload_identity_pool_id = "gate-ci"
  display_name              = "CI outside Google"
}

resource "google_iam_workload_identity_pool_provider" "oidc" {
  for_each = var.oidc

  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.ci.workload_identity_pool_id
  workload_identity_pool_provider_id = each.key
  attribute_condition                = each.value.condition
  attribute_mapping = merge({ "google.subject" = "assertion.sub" },
  { for k, v in each.value.attributes : "attribute.${k}" => v })

  oidc {
    issuer_uri = each.value.issuer
  }
}

resource "google_iam_workload_identity_pool_provider" "aws" {
  for_each = var.aws_accounts

  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.ci.workload_identity_pool_id
  workload_identity_pool_provider_id = each.key
  attribute_mapping = {
    "google.subject"     = "assertion.arn"
    "attribute.aws_role" = "assertion.arn.extract('assumed-role/{role}/')"
  }

  aws {
    account_id = each.value
  }
}

resource "google_iam_workload_identity_pool_provider" "saml" {
  for_each = var.saml

  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.ci.workload_identity_pool_id
  workload_identity_pool_provider_id = each.key
  attribute_mapping = {
    "google.subject" = "assertion.subject"
  }

  saml {
    idp_metadata_xml = each.value
  }
}

resource "google_service_account" "caller" {
  for_each = var.callers

  project      = var.project
  account_id   = "gate-ci-${each.key}"
  display_name = "${each.key}, when it calls the gate"
}

# Creates ID tokens of this account only, and no access tokens. (workloadIdentityUser would allow both.)
resource "google_service_account_iam_member" "caller" {
  for_each = var.callers

  service_account_id = google_service_account.caller[each.key].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = "principalSet://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${google_iam_workload_identity_pool.ci.workload_identity_pool_id}/${each.value}"
}

output "callers" {
  description = "Caller to the e-mail address for the gate's configuration and for run.invoker."
  value       = { for k, a in google_service_account.caller : k => a.email }
}
