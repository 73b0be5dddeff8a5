output "address" {
  description = "Address for the A records of both hosts."
  value       = module.edge.address
}

output "attestor" {
  description = "For the configuration and the policies."
  value       = module.signing.attestor
}

output "log" {
  description = "log.key and log.bucket of both configurations; log.origin is API_HOST/decisions."
  value       = { key = module.log.key, bucket = module.log.bucket }
}

output "iap_audience" {
  description = "identity.iapAudience of the gate's configuration."
  value       = module.edge.iap_audience
}
