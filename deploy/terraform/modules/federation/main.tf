# CI outside Google calls the gate without a downloaded key: it exchanges its own
# token for one of a service account that may only call the gate.

resource "google_iam_workload_identity_pool" "ci" {
  project                   = var.project
  workload_identity_pool_id = var.pool
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
