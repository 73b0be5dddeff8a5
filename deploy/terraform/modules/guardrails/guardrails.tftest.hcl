mock_provider "google" {
  mock_resource "google_tags_tag_key" {
    defaults = { id = "tagKeys/1" }
  }
  mock_resource "google_tags_tag_value" {
    defaults = { id = "tagValues/2" }
  }
}

variables {
  organization       = "123"
  access_policy      = "456"
  protected_projects = ["1", "2"]
  ingress = {
    gate  = { identities = ["serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com"], services = ["artifactregistry.googleapis.com", "cloudkms.googleapis.com"], projects = ["3"] }
    build = { identities = ["serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com"], services = ["artifactregistry.googleapis.com"] }
  }
  enforce_perimeter = false
}

run "log_only" {
  command = apply

  assert {
    condition     = { for k, p in google_org_policy_policy.run : k => tolist(p.spec[0].rules[1].values[0].allowed_values) } == { "run.allowedIngress" = tolist(["internal", "internal-and-cloud-load-balancing"]), "run.allowedVPCEgress" = tolist(["all-traffic", "private-ranges-only"]), "run.allowedBinaryAuthorizationPolicies" = tolist(["default"]) }
    error_message = "The organisation allows something else."
  }
  assert {
    condition     = alltrue([for p in google_org_policy_policy.run : p.spec[0].rules[0].allow_all == "TRUE" && p.spec[0].rules[0].condition[0].expression == "resource.matchTagId('tagKeys/1', 'tagValues/2')"])
    error_message = "The exception is not by the tag."
  }
  assert {
    condition     = length(google_access_context_manager_service_perimeter.supply_chain[0].status) == 0 && google_access_context_manager_service_perimeter.supply_chain[0].use_explicit_dry_run_spec
    error_message = "The perimeter refuses before anybody asked for that."
  }
}

run "enforced" {
  command = apply
  variables { enforce_perimeter = true }

  assert {
    condition     = toset(google_access_context_manager_service_perimeter.supply_chain[0].status[0].resources) == toset(["projects/1", "projects/2"]) && length(setsubtract(["artifactregistry.googleapis.com", "containeranalysis.googleapis.com", "cloudkms.googleapis.com"], google_access_context_manager_service_perimeter.supply_chain[0].status[0].restricted_services)) == 0
    error_message = "Registry, keys or attestations are outside the perimeter."
  }
  assert {
    condition     = { for r in google_access_context_manager_service_perimeter.supply_chain[0].status[0].ingress_policies : one(r.ingress_from[0].identities) => [for s in r.ingress_from[0].sources : coalesce(s.resource, s.access_level)] } == { "serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com" = ["projects/3"], "serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com" = ["*"] }
    error_message = "A rule admits another identity, or from elsewhere."
  }
  assert {
    condition     = alltrue([for r in google_access_context_manager_service_perimeter.supply_chain[0].status[0].ingress_policies : length(r.ingress_to[0].operations) == (one(r.ingress_from[0].identities) == "serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com" ? 1 : 2)])
    error_message = "A rule admits to more services than it names."
  }
  assert {
    condition     = length(google_access_context_manager_service_perimeter.supply_chain[0].status[0].egress_policies) == 0
    error_message = "There is a way out that nobody asked for."
  }
}

run "for_everyone" {
  command = plan
  variables {
    ingress = { all = { identities = [], services = ["artifactregistry.googleapis.com"] } }
  }

  expect_failures = [var.ingress]
}

run "to_everything" {
  command = plan
  variables {
    ingress = { all = { identities = ["user:a@acme.example"], services = ["*"] } }
  }

  expect_failures = [var.ingress]
}

run "tagged" {
  command = apply
  variables { scope = { production = "123/environment/production", internal = "123/exposure/internal" } }

  assert {
    condition     = { for k, p in google_org_policy_policy.run : k => p.spec[0].rules[1].condition[0].expression } == { "run.allowedIngress" = "resource.matchTag('123/exposure', 'internal') && !resource.matchTagId('tagKeys/1', 'tagValues/2')", "run.allowedVPCEgress" = "resource.matchTag('123/environment', 'production') && !resource.matchTagId('tagKeys/1', 'tagValues/2')", "run.allowedBinaryAuthorizationPolicies" = "resource.matchTag('123/environment', 'production') && !resource.matchTagId('tagKeys/1', 'tagValues/2')" }
    error_message = "A rule holds for another tag."
  }
  assert {
    condition     = alltrue([for p in google_org_policy_policy.run : length(p.spec[0].rules) == 3 && p.spec[0].rules[2].allow_all == "TRUE" && length(p.spec[0].rules[2].condition) == 0])
    error_message = "What has no tag is restricted, or nothing is said of it."
  }
}

run "a_tag_by_its_value_alone_is_refused" {
  command = plan
  variables { scope = { production = "production", internal = "123/exposure/internal" } }
  expect_failures = [var.scope]
}
