# The gate's database: PostgreSQL with a private address, logins by IAM without
# passwords, and point-in-time recovery for the last week.

resource "google_sql_database_instance" "record" {
  project             = var.project
  name                = var.name
  region              = var.region
  database_version    = "POSTGRES_17"
  encryption_key_name = var.kms_key
  # The database contains evidence.
  deletion_protection = true

  settings {
    tier                        = var.tier
    edition                     = "ENTERPRISE"
    availability_type           = "REGIONAL"
    disk_autoresize             = true
    deletion_protection_enabled = true
    # The peering determines the private range; this reference makes the order explicit.
    user_labels = { peering = substr(sha256(var.peering), 0, 16) }

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      transaction_log_retention_days = 7
      backup_retention_settings {
        retained_backups = 30
      }
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }
    database_flags {
      name  = "cloudsql.enable_pgaudit"
      value = "on"
    }
    database_flags {
      name  = "log_connections"
      value = "on"
    }
  }
}

resource "google_sql_database" "record" {
  project  = var.project
  instance = google_sql_database_instance.record.name
  name     = "gate"
}

resource "google_sql_user" "service" {
  for_each = var.users

  project  = var.project
  instance = google_sql_database_instance.record.name
  # PostgreSQL's name of a service account leaves out .gserviceaccount.com.
  name = trimsuffix(each.value, ".gserviceaccount.com")
  type = "CLOUD_IAM_SERVICE_ACCOUNT"
}

# Asynchronous: what was not yet copied when the region failed is lost, usually less than a second.
resource "google_sql_database_instance" "replica" {
  count = var.replica_region == null ? 0 : 1

  project              = var.project
  name                 = "${var.name}-replica"
  region               = var.replica_region
  database_version     = "POSTGRES_17"
  encryption_key_name  = var.replica_kms_key
  master_instance_name = var.promoted ? null : google_sql_database_instance.record.name
  instance_type        = var.promoted ? "CLOUD_SQL_INSTANCE" : "READ_REPLICA_INSTANCE"
  # The database contains evidence.
  deletion_protection = true

  settings {
    tier                        = var.tier
    edition                     = "ENTERPRISE"
    availability_type           = "REGIONAL"
    disk_autoresize             = true
    deletion_protection_enabled = true
    user_labels                 = { peering = substr(sha256(var.peering), 0, 16) }

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"
    }

    # A replica has none; once promoted, it is backed up like the first.
    dynamic "backup_configuration" {
      for_each = var.promoted ? [1] : []
      content {
        enabled                        = true
        point_in_time_recovery_enabled = true
        transaction_log_retention_days = 7
        backup_retention_settings {
          retained_backups = 30
        }
      }
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }
    database_flags {
      name  = "cloudsql.enable_pgaudit"
      value = "on"
    }
    database_flags {
      name  = "log_connections"
      value = "on"
    }
  }
}
