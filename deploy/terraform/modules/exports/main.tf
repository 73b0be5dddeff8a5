# A bucket for what leaves the record: exports of decisions for audits, kept for as long as they must be and
# not changed in that time.

resource "google_storage_bucket" "exports" {
  project                     = var.project
  name                        = var.bucket
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Nobody deletes or replaces an export before its time; once locked, the time can only be extended.
  retention_policy {
    retention_period = var.retention_days * 86400
    is_locked        = var.locked
  }

  soft_delete_policy {
    retention_duration_seconds = 7776000
  }

  dynamic "encryption" {
    for_each = var.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

# Writes exports. This role can neither read nor replace one.
resource "google_storage_bucket_iam_member" "writer" {
  for_each = var.writers

  bucket = google_storage_bucket.exports.name
  role   = "roles/storage.objectCreator"
  member = each.value
}

# Reads exports.
resource "google_storage_bucket_iam_member" "reader" {
  for_each = var.readers

  bucket = google_storage_bucket.exports.name
  role   = "roles/storage.objectViewer"
  member = each.value
}
