# The keys that sign verification summaries (docs/vsa.md): one for passes and another for refusals,
# since consumers who compare signatures alone take every summary by the key of passes for a pass.

resource "google_kms_key_ring" "summaries" {
  project  = var.project
  name     = "summaries"
  location = var.location
}

resource "google_kms_crypto_key" "summary" {
  for_each = toset(var.refused ? ["passed", "refused"] : ["passed"])

  name     = each.value
  key_ring = google_kms_key_ring.summaries.id
  purpose  = "ASYMMETRIC_SIGN"
  # A key version that was destroyed by mistake can be restored for a month.
  destroy_scheduled_duration = "2592000s"

  version_template {
    algorithm        = "EC_SIGN_P256_SHA256"
    protection_level = "HSM"
  }

  lifecycle {
    # Consumers hold its public key.
    prevent_destroy = true
  }
}

locals {
  signers = merge([for key in keys(google_kms_crypto_key.summary) : {
    for who, member in var.gate_members : "${key} ${who}" => { key = key, member = member }
  }]...)
}

# Signs summaries, and reads the public key to check each signature. On each key, not the ring.
resource "google_kms_crypto_key_iam_member" "signer" {
  for_each = local.signers

  crypto_key_id = google_kms_crypto_key.summary[each.value.key].id
  role          = "roles/cloudkms.signerVerifier"
  member        = each.value.member
}

# Writes summaries beside the images, as referrers. Artifact Registry has no narrower role for it: this one may push to the
# repository, but neither delete nor, with immutable tags, move one.
resource "google_artifact_registry_repository_iam_member" "writer" {
  for_each = var.repository == null ? {} : var.gate_members

  project    = var.repository.project
  location   = var.repository.location
  repository = var.repository.name
  role       = "roles/artifactregistry.writer"
  member     = each.value
}
