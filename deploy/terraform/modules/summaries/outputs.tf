output "vsa" {
  description = "Section vsa of the configuration, for settings of module service."
  value = merge(
    {
      verifier = var.verifier
      passed   = { kms = "${google_kms_crypto_key.summary["passed"].id}/cryptoKeyVersions/1" }
    },
    var.refused ? { refused = { kms = "${google_kms_crypto_key.summary["refused"].id}/cryptoKeyVersions/1" } } : {},
  )
}
