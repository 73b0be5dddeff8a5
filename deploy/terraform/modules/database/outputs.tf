output "connection_name" {
  description = "PROJECT:REGION:INSTANCE, for the Cloud SQL Auth Proxy."
  value       = var.promoted ? google_sql_database_instance.replica[0].connection_name : google_sql_database_instance.record.connection_name
}

output "connection_strings" {
  description = "Connection strings for the secrets, by service. They contain no credentials: the proxy container adds them."
  value = {
    for who, user in google_sql_user.service :
    who => "postgres://${urlencode(user.name)}@127.0.0.1:5432/${google_sql_database.record.name}?sslmode=disable"
  }
}
