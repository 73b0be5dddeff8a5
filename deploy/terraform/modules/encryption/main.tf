# A key of one's own for what Cloud Run keeps of the services: their images and
# their instances' disks. Whoever disables it stops the gate within hours, which is
# what it is for; see docs/deploy.md before turning it off instead.

variable "project" {
  description = "Project that holds the key: that of the signing key, where projects are split."
  type        = string
}

variable "location" {
  description = "Location of the key ring: the region of the services."
  type        = string
}

variable "run_project_number" {
  description = "Number of the services' project, by which Cloud Run's service agent is called."
  type        = string
}

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
  # What was destroyed by mistake can be had back for a month.
  destroy_scheduled_duration = "2592000s"

  version_template {
    algorithm        = "GOOGLE_SYMMETRIC_ENCRYPTION"
    protection_level = "HSM"
  }

  lifecycle {
    # Without it no instance starts.
    prevent_destroy = true
  }
}

# Cloud Run itself encrypts and decrypts, when an instance starts: on this key alone.
resource "google_kms_crypto_key_iam_member" "run" {
  crypto_key_id = google_kms_crypto_key.gate.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${var.run_project_number}@serverless-robot-prod.iam.gserviceaccount.com"
}

output "key" {
  description = "projects/…/cryptoKeys/K for kms_key of module service, once Cloud Run may use it."
  value       = google_kms_crypto_key.gate.id
  depends_on  = [google_kms_crypto_key_iam_member.run]
}
