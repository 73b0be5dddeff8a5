mock_provider "google" {}

variables {
  project        = "acme-gate"
  project_number = "123456789012"
  location       = "EU"
  publishers     = ["serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com"]
}

run "rows" {
  command = apply

  assert {
    condition     = google_pubsub_subscription.rows.bigquery_config[0].table == "acme-gate.gate.decisions" && google_pubsub_subscription.rows.bigquery_config[0].use_topic_schema
    error_message = "Rows go elsewhere, or as one column."
  }
  assert {
    condition     = google_bigquery_table_iam_member.writer.member == "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com" && google_bigquery_table_iam_member.writer.table_id == "decisions"
    error_message = "Pub/Sub cannot write the table, or may write others."
  }
  assert {
    condition     = length(google_pubsub_topic_iam_member.publisher) == 1 && google_pubsub_topic.rows.schema_settings[0].encoding == "JSON"
    error_message = "Somebody else publishes rows, or in another form."
  }
}
