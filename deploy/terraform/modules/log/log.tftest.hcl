mock_provider "google" {
  override_during = plan

  mock_resource "google_kms_crypto_key" {
    defaults = { id = "projects/acme-keys/locations/us-east1/keyRings/log/cryptoKeys/log" }
  }
}

variables {
  project  = "acme-keys"
  location = "us-east1"
  bucket   = "acme-gate-log"
  origin   = "gate.acme.example/decisions"
  gate_members = {
    gate   = "serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com"
    events = "serviceAccount:gate-events@acme-gate.iam.gserviceaccount.com"
  }
}

run "log" {
  command = plan # what is applied cannot be destroyed again

  assert {
    condition     = google_kms_crypto_key.log.purpose == "ASYMMETRIC_SIGN" && google_kms_crypto_key.log.version_template[0].algorithm == "EC_SIGN_ED25519"
    error_message = "The key cannot sign checkpoints."
  }
  assert {
    condition     = output.key == "gcpkms://projects/acme-keys/locations/us-east1/keyRings/log/cryptoKeys/log/cryptoKeyVersions/1" && output.bucket == "gs://acme-gate-log"
    error_message = "The outputs are not what the configuration takes."
  }
  assert {
    condition     = google_storage_bucket.log.versioning[0].enabled && google_storage_bucket.log.soft_delete_policy[0].retention_duration_seconds == 7776000 && google_storage_bucket.log.uniform_bucket_level_access && google_storage_bucket.log.public_access_prevention == "enforced"
    error_message = "What was kept can be lost, or read by everybody."
  }
  assert {
    condition     = toset([for m in google_storage_bucket_iam_member.checkpoint : m.condition[0].expression]) == toset(["resource.name == \"projects/_/buckets/acme-gate-log/objects/gate.acme.example/decisions/checkpoint\""])
    error_message = "The gate can replace more than the checkpoint."
  }
  assert {
    condition     = alltrue([for m in google_storage_bucket_iam_member.writer : m.role == "roles/storage.objectCreator"]) && alltrue([for m in google_storage_bucket_iam_member.reader : m.role == "roles/storage.objectViewer"])
    error_message = "The gate may do more than write new tiles and read them."
  }
}
