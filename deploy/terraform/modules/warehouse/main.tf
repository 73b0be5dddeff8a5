# The record as a BigQuery table: the gate publishes a row for each decision, override and
# revocation to a topic with a schema, and Pub/Sub writes them to the table. See
# docs/events.md, "A table in BigQuery".

locals {
  schema = "${path.module}/../../../../docs/schema"
  agent  = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_schema" "rows" {
  project    = var.project
  name       = "gate-rows"
  type       = "PROTOCOL_BUFFER"
  definition = file("${local.schema}/row.proto")
}

resource "google_pubsub_topic" "rows" {
  project = var.project
  name    = "gate-rows"

  schema_settings {
    schema   = google_pubsub_schema.rows.id
    encoding = "JSON"
  }
}

# The gate publishes rows, and reads none of them.
resource "google_pubsub_topic_iam_member" "publisher" {
  count = length(var.publishers)

  project = var.project
  topic   = google_pubsub_topic.rows.name
  role    = "roles/pubsub.publisher"
  member  = var.publishers[count.index]
}

resource "google_bigquery_dataset" "gate" {
  project     = var.project
  dataset_id  = "gate"
  location    = var.location
  description = "Decisions, overrides and revocations of the admission gate."
}

resource "google_bigquery_table" "decisions" {
  project             = var.project
  dataset_id          = google_bigquery_dataset.gate.dataset_id
  table_id            = "decisions"
  schema              = file("${local.schema}/row.bigquery.json")
  deletion_protection = true

  time_partitioning {
    type  = "DAY"
    field = "time"
  }
}

# Pub/Sub's service agent writes to this table and no other.
resource "google_bigquery_table_iam_member" "writer" {
  project    = var.project
  dataset_id = google_bigquery_dataset.gate.dataset_id
  table_id   = google_bigquery_table.decisions.table_id
  role       = "roles/bigquery.dataEditor"
  member     = local.agent
}

resource "google_pubsub_subscription" "rows" {
  project                    = var.project
  name                       = "gate-rows"
  topic                      = google_pubsub_topic.rows.id
  message_retention_duration = "604800s"

  bigquery_config {
    table            = "${var.project}.${google_bigquery_dataset.gate.dataset_id}.${google_bigquery_table.decisions.table_id}"
    use_topic_schema = true
  }

  expiration_policy {
    ttl = ""
  }

  depends_on = [google_bigquery_table_iam_member.writer]
}
