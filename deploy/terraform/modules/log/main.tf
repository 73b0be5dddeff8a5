# The record's transparency log: the key that signs its checkpoints, and the bucket
# that it is copied to. Whoever administers the database must not be able to write
# here: a log that was put back or rewritten is shown by the checkpoint in the bucket.

resource "google_kms_key_ring" "log" {
  project  = var.project
  name     = "log"
  location = var.location
}

resource "google_kms_crypto_key" "log" {
  name     = "log"
  key_ring = google_kms_key_ring.log.id
  purpose  = "ASYMMETRIC_SIGN"
  # A key version that was destroyed by mistake can be restored for a month.
  destroy_scheduled_duration = "2592000s"

  version_template {
    # The signature of signed notes, which witnesses and verifiers of other people read.
    algorithm = "EC_SIGN_ED25519"
  }

  lifecycle {
    # Without this key, the log needs a new name.
    prevent_destroy = true
  }
}

# Signs checkpoints, and reads the public key to check each signature. On the key, not the ring.
resource "google_kms_crypto_key_iam_member" "signer" {
  for_each = var.gate_members

  crypto_key_id = google_kms_crypto_key.log.id
  role          = "roles/cloudkms.signerVerifier"
  member        = each.value
}

resource "google_storage_bucket" "log" {
  project                     = var.project
  name                        = var.bucket
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Tiles are never overwritten. The checkpoint is, once a minute: its earlier versions show what was signed before. A
  # retention policy would forbid to replace it.
  versioning {
    enabled = true
  }

  # What is deleted can be restored for 90 days, the longest that Cloud Storage has.
  soft_delete_policy {
    retention_duration_seconds = 7776000
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 400
    }
    action {
      type = "Delete"
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

# Compares the log with the checkpoint, and finds what is copied already.
resource "google_storage_bucket_iam_member" "reader" {
  for_each = var.gate_members

  bucket = google_storage_bucket.log.name
  role   = "roles/storage.objectViewer"
  member = each.value
}

# Writes tiles. This role cannot overwrite or delete one.
resource "google_storage_bucket_iam_member" "writer" {
  for_each = var.gate_members

  bucket = google_storage_bucket.log.name
  role   = "roles/storage.objectCreator"
  member = each.value
}

# Replaces the checkpoint, and no other object.
resource "google_storage_bucket_iam_member" "checkpoint" {
  for_each = var.gate_members

  bucket = google_storage_bucket.log.name
  role   = "roles/storage.objectUser"
  member = each.value

  condition {
    title      = "checkpoint"
    expression = "resource.name == \"projects/_/buckets/${var.bucket}/objects/${var.origin}/checkpoint\""
  }
}
