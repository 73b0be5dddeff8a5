output "bucket" {
  description = "gs://BUCKET of the exports."
  value       = "gs://${google_storage_bucket.exports.name}"
}
