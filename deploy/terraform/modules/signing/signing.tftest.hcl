mock_provider "google" {
  override_during = plan

  mock_resource "google_kms_crypto_key" {
    defaults = { id = "projects/acme-keys/locations/us-east1/keyRings/gate/cryptoKeys/gate" }
  }
  mock_data "google_kms_crypto_key_version" {
    defaults = {
      name       = "projects/acme-keys/locations/us-east1/keyRings/gate/cryptoKeys/gate/cryptoKeyVersions/1"
      public_key = [{ pem = "PEM", algorithm = "EC_SIGN_P256_SHA256" }]
    }
  }
}

variables {
  project       = "acme-keys"
  location      = "us-east1"
  signer_member = "serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com"
  events_member = "serviceAccount:gate-events@acme-gate.iam.gserviceaccount.com"
  verifiers     = ["service-1@gcp-sa-binaryauthorization.iam.gserviceaccount.com"]
}

run "key" {
  command = plan # what is applied cannot be destroyed again

  assert {
    condition     = google_kms_crypto_key.attest.purpose == "ASYMMETRIC_SIGN" && google_kms_crypto_key.attest.version_template[0].algorithm == "EC_SIGN_P256_SHA256" && google_kms_crypto_key.attest.version_template[0].protection_level == "HSM"
    error_message = "The key is not one that the gate signs with, or can leave its HSM."
  }
  assert {
    condition     = google_kms_crypto_key.attest.destroy_scheduled_duration == "2592000s"
    error_message = "A key that was destroyed by mistake is gone."
  }
  assert {
    condition     = google_binary_authorization_attestor.gate.attestation_authority_note[0].note_reference == "gate" && output.attestor == "projects/acme-keys/attestors/gate"
    error_message = "The attestor stands on another note."
  }
  assert {
    condition     = toset([for m in google_kms_crypto_key_iam_member.signer : m.member]) == toset([var.signer_member, var.events_member]) && alltrue([for m in google_kms_crypto_key_iam_member.signer : m.role == "roles/cloudkms.signerVerifier"])
    error_message = "Others can sign."
  }
  assert {
    condition     = toset([for m in google_container_analysis_note_iam_member.attacher : m.member]) == toset([var.signer_member, var.events_member])
    error_message = "Others can attach to the note."
  }
}
