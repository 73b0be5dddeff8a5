mock_provider "google" {
  override_during = plan
}

variables {
  project            = "acme-keys"
  location           = "us-east1"
  run_project_number = "123456789012"
}

run "key" {
  command = plan # what is applied cannot be destroyed again

  assert {
    condition     = google_kms_crypto_key.gate.purpose == "ENCRYPT_DECRYPT" && google_kms_crypto_key.gate.rotation_period == "7776000s" && google_kms_crypto_key.gate.version_template[0].protection_level == "HSM"
    error_message = "The key does not encrypt, does not rotate, or can leave its HSM."
  }
  assert {
    condition     = google_kms_crypto_key_iam_member.run.member == "serviceAccount:service-123456789012@serverless-robot-prod.iam.gserviceaccount.com" && google_kms_crypto_key_iam_member.run.role == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    error_message = "Others than Cloud Run use the key."
  }
}
