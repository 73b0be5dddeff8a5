mock_provider "google" {
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/acme-gate/serviceAccounts/gate-x@acme-gate.iam.gserviceaccount.com"
      member = "serviceAccount:gate-x@acme-gate.iam.gserviceaccount.com"
    }
  }
}

variables {
  project       = "acme-gate"
  build_project = "acme-build"
  people        = { oncall = ["group:oncall@acme.example"] }
}

run "least" {
  command = apply

  assert {
    condition     = toset([for m in concat(values(google_project_iam_member.sql_client), values(google_project_iam_member.sql_user), values(google_project_iam_member.trace), values(google_project_iam_member.metrics)) : m.role]) == toset(["roles/cloudsql.client", "roles/cloudsql.instanceUser", "roles/cloudtrace.agent", "roles/monitoring.metricWriter"])
    error_message = "The services may do something else on their project."
  }
  assert {
    condition     = [for m in google_service_account_iam_member.taker : "${m.role} ${m.member}"] == ["roles/iam.serviceAccountOpenIdTokenCreator group:oncall@acme.example"]
    error_message = "People may do more than make ID tokens, or others may."
  }
}

run "long_task" {
  command = plan
  variables {
    people = { "on-call-of-the-eastern-region" = ["group:oncall@acme.example"] }
  }

  expect_failures = [var.people]
}

run "own_account" {
  command = plan
  variables {
    people = { builder = ["group:oncall@acme.example"] }
  }

  expect_failures = [var.people]
}
