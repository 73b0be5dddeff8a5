# Rules for the whole organisation, so that no service can bypass the gate.
# Optional; an administrator of the organisation applies them.

# Resources with this tag are exempt. Whoever may attach the tag can exempt resources.
resource "google_tags_tag_key" "exempt" {
  parent      = "organizations/${var.organization}"
  short_name  = "cloud-run-guardrails"
  description = "Exceptions from the rules for Cloud Run"
}

resource "google_tags_tag_value" "exempt" {
  parent      = google_tags_tag_key.exempt.id
  short_name  = "exempt"
  description = "Reviewed, with an owner and an end"
}

locals {
  exempt = "resource.matchTagId('${google_tags_tag_key.exempt.id}', '${google_tags_tag_value.exempt.id}')"
  tags = var.scope == null ? {} : {
    "run.allowedIngress"                     = var.scope.internal
    "run.allowedVPCEgress"                   = var.scope.production
    "run.allowedBinaryAuthorizationPolicies" = var.scope.production
  }
  allowed = {
    "run.allowedIngress"                     = ["internal", "internal-and-cloud-load-balancing"]
    "run.allowedVPCEgress"                   = ["all-traffic", "private-ranges-only"]
    "run.allowedBinaryAuthorizationPolicies" = ["default"]
  }
}

resource "google_org_policy_policy" "run" {
  for_each = local.allowed

  name   = "organizations/${var.organization}/policies/${each.key}"
  parent = "organizations/${var.organization}"

  spec {
    # The exception comes first: rules with a condition precede the rule without one.
    rules {
      allow_all = "TRUE"
      condition {
        title      = "exempt"
        expression = local.exempt
      }
    }
    rules {
      values {
        allowed_values = each.value
      }
      # Not also where the exception holds, so that the order of the two does not matter.
      dynamic "condition" {
        for_each = var.scope == null ? [] : [local.tags[each.key]]
        content {
          title      = "tagged"
          expression = "resource.matchTag('${join("/", slice(split("/", condition.value), 0, 2))}', '${split("/", condition.value)[2]}') && !${local.exempt}"
        }
      }
    }
    # With tags, what has none of them is not restricted.
    dynamic "rules" {
      for_each = var.scope == null ? [] : [1]
      content {
        allow_all = "TRUE"
      }
    }
  }
}

resource "google_access_context_manager_service_perimeter" "supply_chain" {
  count = var.access_policy == null ? 0 : 1

  parent                    = "accessPolicies/${var.access_policy}"
  name                      = "accessPolicies/${var.access_policy}/servicePerimeters/supply_chain"
  title                     = "supply_chain"
  description               = "Registry, keys and attestations: no way out, and no use of stolen credentials from elsewhere"
  use_explicit_dry_run_spec = true

  # What is enforced is what was tried: both have the same rules.
  dynamic "status" {
    for_each = var.enforce_perimeter ? [1] : []
    content {
      resources           = [for p in var.protected_projects : "projects/${p}"]
      restricted_services = local.restricted

      dynamic "ingress_policies" {
        for_each = var.ingress
        content {
          ingress_from {
            identities = ingress_policies.value.identities
            dynamic "sources" {
              for_each = [for p in ingress_policies.value.projects : "projects/${p}"]
              content {
                resource = sources.value
              }
            }
            # Every source: the identities alone decide.
            dynamic "sources" {
              for_each = length(ingress_policies.value.projects) == 0 ? ["*"] : []
              content {
                access_level = sources.value
              }
            }
          }
          ingress_to {
            resources = ["*"]
            dynamic "operations" {
              for_each = ingress_policies.value.services
              content {
                service_name = operations.value
                method_selectors {
                  method = "*"
                }
              }
            }
          }
        }
      }

      dynamic "egress_policies" {
        for_each = var.egress
        content {
          egress_from {
            identities = egress_policies.value.identities
          }
          egress_to {
            resources = [for p in egress_policies.value.projects : "projects/${p}"]
            dynamic "operations" {
              for_each = egress_policies.value.services
              content {
                service_name = operations.value
                method_selectors {
                  method = "*"
                }
              }
            }
          }
        }
      }
    }
  }

  spec {
    resources           = [for p in var.protected_projects : "projects/${p}"]
    restricted_services = local.restricted

    dynamic "ingress_policies" {
      for_each = var.ingress
      content {
        ingress_from {
          identities = ingress_policies.value.identities
          dynamic "sources" {
            for_each = [for p in ingress_policies.value.projects : "projects/${p}"]
            content {
              resource = sources.value
            }
          }
          # Every source: the identities alone decide.
          dynamic "sources" {
            for_each = length(ingress_policies.value.projects) == 0 ? ["*"] : []
            content {
              access_level = sources.value
            }
          }
        }
        ingress_to {
          resources = ["*"]
          dynamic "operations" {
            for_each = ingress_policies.value.services
            content {
              service_name = operations.value
              method_selectors {
                method = "*"
              }
            }
          }
        }
      }
    }

    dynamic "egress_policies" {
      for_each = var.egress
      content {
        egress_from {
          identities = egress_policies.value.identities
        }
        egress_to {
          resources = [for p in egress_policies.value.projects : "projects/${p}"]
          dynamic "operations" {
            for_each = egress_policies.value.services
            content {
              service_name = operations.value
              method_selectors {
                method = "*"
              }
            }
          }
        }
      }
    }
  }
}

locals {
  restricted = [
    "artifactregistry.googleapis.com", "containeranalysis.googleapis.com", "binaryauthorization.googleapis.com",
    "cloudkms.googleapis.com", "secretmanager.googleapis.com", "sqladmin.googleapis.com", "run.googleapis.com",
  ]
}
