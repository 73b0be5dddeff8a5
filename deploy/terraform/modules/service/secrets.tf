# Files that the service reads. Versions are pinned: a running service keeps the
# deployed files, and each change is a revision that can be rolled back. For this,
# Terraform leaves the version that it replaces: a revision whose version is
# destroyed starts no instance any more.

resource "google_secret_manager_secret" "config" {
  project   = var.project
  secret_id = "${var.name}-config${var.suffix}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "config" {
  secret          = google_secret_manager_secret.config.id
  secret_data     = length(keys(var.settings)) == 0 ? var.config : yamlencode(merge(yamldecode(var.config), var.settings))
  deletion_policy = "ABANDON"
}

resource "google_secret_manager_secret" "policy" {
  for_each = var.policies

  project   = var.project
  secret_id = "${var.name}-policy-${each.key}${var.suffix}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "policy" {
  for_each = var.policies

  secret          = google_secret_manager_secret.policy[each.key].id
  secret_data     = each.value
  deletion_policy = "ABANDON"
}

# These files are not secret, but decisions depend on them, so their versions are pinned too.
resource "google_secret_manager_secret" "file" {
  for_each = var.files

  project   = var.project
  secret_id = "${var.name}-file-${each.key}${var.suffix}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "file" {
  for_each = var.files

  secret          = google_secret_manager_secret.file[each.key].id
  secret_data     = each.value.text
  deletion_policy = "ABANDON"
}

resource "google_secret_manager_secret" "database" {
  project   = var.project
  secret_id = "${var.name}-database${var.suffix}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "database" {
  secret          = google_secret_manager_secret.database.id
  secret_data     = var.connection_string
  deletion_policy = "ABANDON"
}

# Reads these secrets only.
resource "google_secret_manager_secret_iam_member" "reader" {
  for_each = merge(
    {
      config   = google_secret_manager_secret.config.secret_id
      database = google_secret_manager_secret.database.secret_id
    },
    { for key in var.hash_key[*] : "hash" => key.secret },
    { for name, secret in google_secret_manager_secret.policy : "policy-${name}" => secret.secret_id },
    { for name, secret in google_secret_manager_secret.file : "file-${name}" => secret.secret_id },
  )

  project   = var.project
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${var.service_account}"
}

# IAM applies a grant within minutes, and Cloud Run refuses a service that may not read its secrets, use its key or pull
# its image: a service that was refused stays there, and Terraform cannot create it again. This waits once for each set
# of grants, those of the account and the key included.
resource "terraform_data" "granted" {
  count = var.settle > 0 ? 1 : 0

  triggers_replace = [keys(google_secret_manager_secret_iam_member.reader), var.service_account, var.kms_key]

  provisioner "local-exec" {
    command = "sleep ${var.settle}"
  }
}
