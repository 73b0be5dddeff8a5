output "topic" {
  description = "What events.receivers[].table of the configuration names."
  value       = google_pubsub_topic.rows.id
}
