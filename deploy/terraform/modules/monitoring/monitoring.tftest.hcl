mock_provider "google" {}

variables {
  project               = "acme-gate"
  notification_channels = ["projects/acme-gate/notificationChannels/1"]
  runbook               = "https://acme.example/operations.md"
}

run "collected" {
  command = apply

  assert {
    condition     = google_monitoring_alert_policy.alert["AttestorAbsent"].severity == "CRITICAL" && google_monitoring_alert_policy.alert["AttestorAbsent"].notification_channels == tolist(var.notification_channels)
    error_message = "Nobody is woken when the gate is gone."
  }
  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.gate.dashboard_json).mosaicLayout.tiles) > 10
    error_message = "The dashboard is empty."
  }
}

run "not_collected" {
  command = apply
  variables { collected = false }

  assert {
    condition     = length(google_monitoring_alert_policy.alert) == 0
    error_message = "AttestorAbsent is raised for ever."
  }
}
