# The gate's database: PostgreSQL with a private address, logins by IAM without
# passwords, and point-in-time recovery for the last week.

variable "project" {
  description = "Project of the database."
  type        = string
}

variable "region" {
  description = "Region of the database."
  type        = string
}

variable "network" {
  description = "Network from which clients connect."
  type        = string
}

variable "peering" {
  description = "Output peering of module network, on which the database depends."
  type        = string
}

variable "name" {
  description = "Name of the instance. The name of a deleted instance cannot be used again for a week: after a deletion choose another."
  type        = string
  default     = "gate"
}

variable "tier" {
  description = "Machine of the database."
  type        = string
  default     = "db-custom-2-7680"
}

variable "kms_key" {
  description = "Key that encrypts the database, projects/…/cryptoKeys/K; null: a key of Google's."
  type        = string
  default     = null
}

variable "users" {
  description = "E-mail addresses of the service accounts that use the database."
  type        = map(string)
}

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

output "connection_name" {
  description = "PROJECT:REGION:INSTANCE, for the Cloud SQL Auth Proxy."
  value       = google_sql_database_instance.record.connection_name
}

output "connection_strings" {
  description = "Connection strings for the secrets, by service. They contain no credentials: the proxy container adds them."
  value = {
    for who, user in google_sql_user.service :
    who => "postgres://${urlencode(user.name)}@127.0.0.1:5432/${google_sql_database.record.name}?sslmode=disable"
  }
}
