# A customer-managed key for the data that Cloud Run stores of the services: their
# images and their instances' disks. Disabling the key stops the gate within hours,
# which is its purpose; docs/deploy.md describes how to remove it.

resource "google_kms_key_ring" "run" {
  project  = var.project
  name     = "run"
  location = var.location
}

resource "google_kms_crypto_key" "gate" {
  name            = "gate"
  key_ring        = google_kms_key_ring.run.id
  purpose         = "ENCRYPT_DECRYPT"
  rotation_period = "7776000s"
  # A key version that was destroyed by mistake can be restored for a month.
  destroy_scheduled_duration = "2592000s"

  version_template {
    algorithm        = "GOOGLE_SYMMETRIC_ENCRYPTION"
    protection_level = "HSM"
  }

  lifecycle {
    # Without this key no instance starts.
    prevent_destroy = true
  }
}

# Cloud Run encrypts and decrypts with this key only, when an instance starts.
resource "google_kms_crypto_key_iam_member" "run" {
  crypto_key_id = google_kms_crypto_key.gate.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${var.run_project_number}@serverless-robot-prod.iam.gserviceaccount.com"
}
