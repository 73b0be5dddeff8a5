output "attestor" {
  description = "projects/P/attestors/A, for the gate's configuration, policies and Binary Authorization."
  value       = "projects/${var.project}/attestors/${google_binary_authorization_attestor.gate.name}"
}

output "key" {
  description = "projects/…/cryptoKeys/K; the configuration names a version of it."
  value       = google_kms_crypto_key.attest.id
}
