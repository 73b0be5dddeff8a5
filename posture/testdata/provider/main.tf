# What plan.json is made from, with Terraform 1.11 and version 8.0.0 of Google's provider:
#
#     terraform plan -out=p && terraform show -json p
terraform {
  required_providers {
    google = { source = "hashicorp/google" }
  }
}

provider "google" {
  project      = "acme"
  region       = "us-central1"
  access_token = "none"
}

# What is made only by the apply: it has outputs, and may be anything.
resource "terraform_data" "later" {
  input = ["a", "b"]
}

resource "google_cloud_run_v2_service" "good" {
  name                 = "good"
  location             = "us-central1"
  ingress              = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  default_uri_disabled = true
  binary_authorization {
    use_default = true
  }
  template {
    service_account                  = "good@acme.iam.gserviceaccount.com"
    timeout                          = "60s"
    encryption_key                   = "projects/acme/locations/us-central1/keyRings/run/cryptoKeys/good"
    max_instance_request_concurrency = 80
    scaling {
      min_instance_count = 1
      max_instance_count = 4
    }
    vpc_access {
      egress = "ALL_TRAFFIC"
      network_interfaces {
        network = "prod"
      }
    }
    containers {
      image = "us-docker.pkg.dev/acme/prod/api@sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3"
      resources {
        limits = { cpu = "1", memory = "512Mi" }
      }
      startup_probe {
        http_get {
          path = "/health"
        }
      }
    }
  }
}

# Everything that can be is left to the provider.
resource "google_cloud_run_v2_service" "bare" {
  name     = "bare"
  location = "us-central1"
  template {
    containers {
      image = "nginx"
    }
  }
}

# The same settings come from what is made only by the apply.
resource "google_cloud_run_v2_service" "later" {
  name     = "later"
  location = "us-central1"
  ingress  = terraform_data.later.output[0]
  scaling {
    scaling_mode = terraform_data.later.output[0]
  }
  template {
    timeout         = terraform_data.later.output[0]
    service_account = terraform_data.later.output[0]
    scaling {
      min_instance_count = 1
      max_instance_count = 4
    }
    containers {
      image          = "us-docker.pkg.dev/acme/prod/api@sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3"
      base_image_uri = terraform_data.later.output[0]
      dynamic "resources" {
        for_each = [1]
        content {
          limits = { cpu = terraform_data.later.output[0], memory = "512Mi" }
        }
      }
    }
  }
  dynamic "build_config" {
    for_each = terraform_data.later.output
    content {
      enable_automatic_updates = true
    }
  }
}

resource "google_cloud_run_service" "old" {
  name     = "old"
  location = "us-central1"
  template {
    spec {
      containers {
        image = "nginx"
      }
    }
  }
}

resource "google_compute_security_policy" "written" {
  name = "written"
  rule {
    action   = "deny(403)"
    priority = 1000
    match {
      expr {
        expression = "evaluatePreconfiguredWaf('sqli-v33-stable') || evaluatePreconfiguredWaf('xss-v33-stable')"
      }
    }
  }
  rule {
    action   = "allow"
    priority = 2147483647
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}
