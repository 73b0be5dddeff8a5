output "key" {
  description = "projects/…/cryptoKeys/K for kms_key of module service; it waits until Cloud Run may use the key."
  value       = google_kms_crypto_key.gate.id
  depends_on  = [google_kms_crypto_key_iam_member.run]
}
