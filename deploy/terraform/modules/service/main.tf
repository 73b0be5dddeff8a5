# One of the two Cloud Run services, with every setting of the hardening table. It is
# used twice, since the services differ only in name, ingress and configuration.

locals {
  # The directory of each file of a secret; one directory for each secret.
  mounts = merge(
    {
      config   = { secret = google_secret_manager_secret.config.secret_id, version = google_secret_manager_secret_version.config.version, path = "attestor.yaml", dir = "/etc/attestor/config" }
      database = { secret = google_secret_manager_secret.database.secret_id, version = google_secret_manager_secret_version.database.version, path = "dsn", dir = "/etc/attestor/database" }
    },
    { for key in var.hash_key[*] : "hash" => { secret = key.secret, version = key.version, path = "key", dir = "/etc/attestor/hash" } },
    { for name, secret in google_secret_manager_secret.policy : "policy-${name}" => {
      secret = secret.secret_id, version = google_secret_manager_secret_version.policy[name].version, path = "policy.yaml", dir = "/etc/attestor/policies/${name}"
    } },
    { for name, secret in google_secret_manager_secret.file : "file-${name}" => {
      secret = secret.secret_id, version = google_secret_manager_secret_version.file[name].version, path = basename(var.files[name].path), dir = dirname(var.files[name].path)
    } },
  )
}

resource "google_cloud_run_v2_service" "gate" {
  project              = var.project
  name                 = var.name
  location             = var.region
  description          = "Admission gate"
  ingress              = var.ingress
  default_uri_disabled = var.default_url_disabled
  custom_audiences     = var.audiences
  # Cloud Run's own check of the caller stays enabled, before the gate's.
  invoker_iam_disabled = false
  iap_enabled          = length(var.iap_readers) > 0
  deletion_protection  = true

  binary_authorization {
    use_default = true
  }

  traffic {
    type    = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
    percent = 100
  }

  template {
    service_account                  = var.service_account
    timeout                          = "60s"
    max_instance_request_concurrency = 80
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    encryption_key                   = var.kms_key

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    vpc_access {
      connector = var.connector
      egress    = "ALL_TRAFFIC"

      dynamic "network_interfaces" {
        for_each = var.connector == null ? [1] : []
        content {
          network    = var.network
          subnetwork = var.subnetwork
        }
      }
    }

    containers {
      name       = "gate"
      image      = var.image
      args       = ["serve", "--config", "/etc/attestor/config/attestor.yaml"]
      depends_on = ["proxy"]

      ports {
        container_port = 8080
      }

      env {
        # Below the memory limit, so that the gate refuses work before the container is killed.
        name  = "GOMEMLIMIT"
        value = "800MiB"
      }

      resources {
        limits = { cpu = "1", memory = "1Gi" }
        # The gate looks up bases' tags and policies between requests.
        cpu_idle          = false
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 30
        http_get {
          path = "/health"
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 2
        failure_threshold = 3
        http_get {
          path = "/health"
        }
      }

      dynamic "volume_mounts" {
        for_each = local.mounts
        content {
          name       = volume_mounts.key
          mount_path = volume_mounts.value.dir
        }
      }
    }

    # Connects to the database by its private address and logs in as the service account: there is no password.
    containers {
      name  = "proxy"
      image = var.proxy_image
      args  = ["--private-ip", "--auto-iam-authn", "--port=5432", "--health-check", "--http-address=0.0.0.0", "--http-port=9801", "--structured-logs", var.connection_name]

      resources {
        # With CPU outside requests and several requests at once, one CPU is the least that Cloud Run takes.
        limits = { cpu = "1", memory = "256Mi" }
      }

      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 30
        http_get {
          path = "/startup"
          port = 9801
        }
      }
    }

    # Collects /metrics for Managed Service for Prometheus.
    dynamic "containers" {
      for_each = var.collector_image == null ? [] : [var.collector_image]
      content {
        name       = "collector"
        image      = containers.value
        depends_on = ["gate"]

        resources {
          limits = { cpu = "1", memory = "256Mi" }
        }
      }
    }

    dynamic "volumes" {
      for_each = local.mounts
      content {
        name = volumes.key
        secret {
          secret       = volumes.value.secret
          default_mode = 292 # 0444: the container's user is not the owner
          items {
            path    = volumes.value.path
            version = volumes.value.version
          }
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.reader, terraform_data.granted]
}

# May call this service only. The gate also has its own list of callers.
resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = var.invokers

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.gate.name
  role     = "roles/run.invoker"
  member   = each.value
}

# With the proxy on Cloud Run itself, the proxy is the caller. The gate verifies its signed header and permits reading only.
resource "google_cloud_run_v2_service_iam_member" "iap" {
  count = length(var.iap_readers) > 0 ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.gate.name
  role     = "roles/run.invoker"
  member   = "serviceAccount:service-${var.project_number}@gcp-sa-iap.iam.gserviceaccount.com"
}

# People pass the proxy of this service only.
resource "google_iap_web_cloud_run_service_iam_member" "reader" {
  for_each = var.iap_readers

  project                = var.project
  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.gate.name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.value
}
