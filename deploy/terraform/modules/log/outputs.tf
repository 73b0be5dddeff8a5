output "key" {
  description = "log.key of the configuration."
  value       = "gcpkms://${google_kms_crypto_key.log.id}/cryptoKeyVersions/1"
}

output "bucket" {
  description = "log.bucket of the configuration."
  value       = "gs://${google_storage_bucket.log.name}"
}
