mock_provider "google" {
  override_during = plan
}

variables {
  project  = "acme-audit"
  location = "us-east1"
  bucket   = "acme-gate-exports"
  writers  = ["serviceAccount:gate-export@acme-gate.iam.gserviceaccount.com"]
  readers  = ["group:audit@acme.example"]
}

run "kept" {
  command = plan # what is applied cannot be destroyed again

  assert {
    condition     = google_storage_bucket.exports.retention_policy[0].retention_period == "189216000" && !google_storage_bucket.exports.retention_policy[0].is_locked && google_storage_bucket.exports.public_access_prevention == "enforced"
    error_message = "Exports can be changed, or read by everybody, or are locked before anybody asked for that."
  }
  assert {
    condition     = [for m in google_storage_bucket_iam_member.writer : m.role] == ["roles/storage.objectCreator"] && [for m in google_storage_bucket_iam_member.reader : m.role] == ["roles/storage.objectViewer"]
    error_message = "Writers read, or readers write."
  }
}

run "no_time_at_all_is_refused" {
  command = plan
  variables { retention_days = 0 }
  expect_failures = [var.retention_days]
}
