output "callers" {
  description = "Caller to the e-mail address for the gate's configuration and for run.invoker."
  value       = { for k, a in google_service_account.caller : k => a.email }
}
