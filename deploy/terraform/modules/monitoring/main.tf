# The dashboard and the alerts of deploy/monitoring in Cloud Monitoring: one
# source for Prometheus and Google Cloud.

locals {
  alerts    = { for r in flatten([for g in yamldecode(file("${path.module}/../../../monitoring/alerts.yaml")).groups : g.rules]) : r.alert => r }
  dashboard = jsondecode(file("${path.module}/../../../monitoring/dashboard.json"))
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = { for name, alert in local.alerts : name => alert if var.collected }

  project               = var.project
  display_name          = each.key
  combiner              = "OR"
  severity              = each.value.labels.severity == "page" ? "CRITICAL" : "WARNING"
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.annotations.summary
    condition_prometheus_query_language {
      query               = each.value.expr
      duration            = lookup(each.value, "for", "0m") == "0m" ? "0s" : "${tonumber(trimsuffix(each.value["for"], "m")) * 60}s"
      evaluation_interval = "60s"
      alert_rule          = each.key
      rule_group          = "attestor"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.annotations.description}\n\n[What to do](${var.runbook}#${lower(each.key)})"
  }
}

resource "google_monitoring_dashboard" "gate" {
  project = var.project
  dashboard_json = jsonencode({
    displayName = local.dashboard.title
    mosaicLayout = {
      columns = 24
      tiles = [for p in local.dashboard.panels : {
        xPos   = p.gridPos.x
        yPos   = p.gridPos.y
        width  = p.gridPos.w
        height = p.gridPos.h
        widget = {
          title = p.title
          xyChart = {
            dataSets = [for t in p.targets : {
              plotType        = "LINE"
              legendTemplate  = t.legendFormat
              timeSeriesQuery = { prometheusQuery = t.expr }
            }]
          }
        }
      }]
    }
  })
}
