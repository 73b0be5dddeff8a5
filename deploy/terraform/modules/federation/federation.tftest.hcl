mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = { name = "projects/acme-gate/serviceAccounts/gate-ci-github@acme-gate.iam.gserviceaccount.com" }
  }
}

variables {
  project        = "acme-gate"
  project_number = "123456789012"
  oidc = { github = {
    issuer     = "https://token.actions.githubusercontent.com"
    condition  = "assertion.repository_owner == 'acme'"
    attributes = { repository = "assertion.repository" }
  } }
  callers = { github = "attribute.repository/acme/api" }
}

run "without_keys" {
  command = apply

  assert {
    condition     = google_iam_workload_identity_pool_provider.oidc["github"].attribute_condition == "assertion.repository_owner == 'acme'" && google_iam_workload_identity_pool_provider.oidc["github"].oidc[0].issuer_uri == "https://token.actions.githubusercontent.com"
    error_message = "Everybody at the issuer gets in."
  }
}

run "a_condition_that_says_nothing_is_refused" {
  command = plan
  variables { oidc = { github = { issuer = "https://token.actions.githubusercontent.com", condition = "true", attributes = {} } } }
  expect_failures = [var.oidc]
}
