mock_provider "google" {}

variables {
  project = "acme-gate"
  region  = "us-east1"
  network = "projects/acme-gate/global/networks/gate"
  peering = "peering"
  users   = { gate = "gate-api@acme-gate.iam.gserviceaccount.com" }
}

run "record" {
  command = apply

  assert {
    condition     = !google_sql_database_instance.record.settings[0].ip_configuration[0].ipv4_enabled && google_sql_database_instance.record.settings[0].ip_configuration[0].private_network == var.network && google_sql_database_instance.record.settings[0].ip_configuration[0].ssl_mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    error_message = "The database can be reached from elsewhere, or without a certificate."
  }
  assert {
    condition     = google_sql_database_instance.record.deletion_protection && google_sql_database_instance.record.settings[0].deletion_protection_enabled && google_sql_database_instance.record.settings[0].backup_configuration[0].point_in_time_recovery_enabled
    error_message = "The record can be lost by a slip."
  }
  assert {
    condition     = anytrue([for f in google_sql_database_instance.record.settings[0].database_flags : f.name == "cloudsql.iam_authentication" && f.value == "on"]) && google_sql_user.service["gate"].type == "CLOUD_IAM_SERVICE_ACCOUNT" && google_sql_user.service["gate"].name == "gate-api@acme-gate.iam"
    error_message = "There is a password."
  }
  assert {
    condition     = output.connection_strings["gate"] == "postgres://gate-api%40acme-gate.iam@127.0.0.1:5432/gate?sslmode=disable"
    error_message = "The connection string is not what the proxy and the gate expect."
  }
}

run "replica" {
  command = apply
  variables { replica_region = "us-east4" }

  assert {
    condition     = google_sql_database_instance.replica[0].region == "us-east4" && google_sql_database_instance.replica[0].master_instance_name == "gate" && !google_sql_database_instance.replica[0].settings[0].ip_configuration[0].ipv4_enabled
    error_message = "The replica is elsewhere, of another database, or open."
  }
}

run "nothing_to_promote" {
  command = plan
  variables { promoted = true }
  expect_failures = [var.promoted]
}
