# The resources for the gate's signatures: a key that never leaves its HSM, the
# note of the attestations, and the attestor that names both. An identity that can
# use the key and attach to the note can admit images. So each of these grants is
# on one resource only.

locals {
  signers = { gate = var.signer_member, events = var.events_member }
}

resource "google_kms_key_ring" "gate" {
  project  = var.project
  name     = var.attestor
  location = var.location
}

resource "google_kms_crypto_key" "attest" {
  name     = var.attestor
  key_ring = google_kms_key_ring.gate.id
  purpose  = "ASYMMETRIC_SIGN"
  # A key version that was destroyed by mistake can be restored for a month.
  destroy_scheduled_duration = "2592000s"

  version_template {
    algorithm        = "EC_SIGN_P256_SHA256"
    protection_level = "HSM"
  }

  lifecycle {
    # Without this key, attested images could no longer be deployed.
    prevent_destroy = true
  }
}

data "google_kms_crypto_key_version" "accepted" {
  for_each = var.key_versions

  crypto_key = google_kms_crypto_key.attest.id
  version    = each.value
}

resource "google_container_analysis_note" "gate" {
  project = var.project
  name    = var.attestor

  attestation_authority {
    hint {
      human_readable_name = "Admission gate: ${var.attestor}"
    }
  }
}

resource "google_binary_authorization_attestor" "gate" {
  project     = var.project
  name        = var.attestor
  description = "Images that the gate found good"

  attestation_authority_note {
    note_reference = google_container_analysis_note.gate.name

    dynamic "public_keys" {
      for_each = data.google_kms_crypto_key_version.accepted
      content {
        # The id that Binary Authorization uses for keys of Cloud KMS; the gate writes the same id into its signatures.
        id = "//cloudkms.googleapis.com/v1/${public_keys.value.name}"
        pkix_public_key {
          public_key_pem      = public_keys.value.public_key[0].pem
          signature_algorithm = public_keys.value.public_key[0].algorithm
        }
      }
    }
  }
}

# Signs, and reads the public key to check each signature before it is stored. On the key, not the ring.
resource "google_kms_crypto_key_iam_member" "signer" {
  for_each = local.signers

  crypto_key_id = google_kms_crypto_key.attest.id
  role          = "roles/cloudkms.signerVerifier"
  member        = each.value
}

# Attaches attestations to the note. occurrences.editor does not include it.
resource "google_container_analysis_note_iam_member" "attacher" {
  for_each = local.signers

  project = var.project
  note    = google_container_analysis_note.gate.name
  role    = "roles/containeranalysis.notes.attacher"
  member  = each.value
}

# Lists existing attestations, and those to revoke.
resource "google_container_analysis_note_iam_member" "reader" {
  for_each = local.signers

  project = var.project
  note    = google_container_analysis_note.gate.name
  role    = "roles/containeranalysis.notes.occurrences.viewer"
  member  = each.value
}

# For the attestor: Binary Authorization lists the attestations of its note.
resource "google_container_analysis_note_iam_member" "delegate" {
  project = var.project
  note    = google_container_analysis_note.gate.name
  role    = "roles/containeranalysis.notes.occurrences.viewer"
  member  = "serviceAccount:${google_binary_authorization_attestor.gate.attestation_authority_note[0].delegation_service_account_email}"
}

# Creates and deletes attestations. Container Analysis grants this by project only. So, with split
# projects, this project contains attestations only.
resource "google_project_iam_member" "attestations" {
  for_each = local.signers

  project = var.project
  role    = "roles/containeranalysis.occurrences.editor"
  member  = each.value
}

# Reads the attestor at the start, and lets Google validate attestations (verify, readiness).
resource "google_binary_authorization_attestor_iam_member" "viewer" {
  for_each = local.signers

  project  = var.project
  attestor = google_binary_authorization_attestor.gate.name
  role     = "roles/binaryauthorization.attestorsViewer"
  member   = each.value
}

resource "google_binary_authorization_attestor_iam_member" "verifier" {
  for_each = local.signers

  project  = var.project
  attestor = google_binary_authorization_attestor.gate.name
  role     = "roles/binaryauthorization.attestorsVerifier"
  member   = each.value
}

# Deploying projects ask this attestor whether an image may run.
resource "google_binary_authorization_attestor_iam_member" "deployer" {
  for_each = var.verifiers

  project  = var.project
  attestor = google_binary_authorization_attestor.gate.name
  role     = "roles/binaryauthorization.attestorsVerifier"
  member   = "serviceAccount:${each.value}"
}
