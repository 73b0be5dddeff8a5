mock_provider "google" {
  override_during = plan

  mock_resource "google_kms_key_ring" {
    defaults = { id = "projects/acme-keys/locations/us-east1/keyRings/summaries" }
  }
}

variables {
  project      = "acme-keys"
  location     = "us-east1"
  verifier     = "https://gate.acme.example"
  refused      = true
  repository   = { project = "acme-images", location = "us-east1", name = "prod" }
  gate_members = { gate = "serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com" }
}

run "two_keys" {
  command = plan # what is applied cannot be destroyed again

  assert {
    condition     = toset(keys(google_kms_crypto_key.summary)) == toset(["passed", "refused"]) && alltrue([for k in google_kms_crypto_key.summary : k.purpose == "ASYMMETRIC_SIGN" && k.version_template[0].protection_level == "HSM"])
    error_message = "Passes and refusals share a key, or one can leave its HSM."
  }
  assert {
    condition     = alltrue([for m in google_kms_crypto_key_iam_member.signer : m.role == "roles/cloudkms.signerVerifier"]) && length(google_kms_crypto_key_iam_member.signer) == 2
    error_message = "The gate cannot sign, or others can."
  }
  assert {
    condition     = output.vsa.verifier == "https://gate.acme.example"
    error_message = "The section is not what the configuration takes."
  }
}

run "a_verifier_with_a_query_is_refused" {
  command = plan
  variables { verifier = "https://gate.acme.example?a" }
  expect_failures = [var.verifier]
}
