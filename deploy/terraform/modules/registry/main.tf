# A repository that scans pushed images: packages of the operating system and of
# languages, at once and then continuously.

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = var.repository
  format        = "DOCKER"
  description   = "Images that the gate judges"
  kms_key_name  = var.kms_key

  docker_config {
    # An immutable tag always names the same digest.
    immutable_tags = true
  }

  vulnerability_scanning_config {
    # Inherited from the project, where containerscanning.googleapis.com is enabled.
    enablement_config = "INHERITED"
  }
}

# Reads manifests and layers of this repository only.
resource "google_artifact_registry_repository_iam_member" "gate" {
  for_each = var.gate_members

  project    = google_artifact_registry_repository.images.project
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}

# Pushes to this repository.
resource "google_artifact_registry_repository_iam_member" "push" {
  for_each = var.pushers

  project    = google_artifact_registry_repository.images.project
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

# Lists and reads the findings of images. Container Analysis grants this by project only.
resource "google_project_iam_member" "scans" {
  for_each = var.gate_members

  project = var.project
  role    = "roles/containeranalysis.occurrences.viewer"
  member  = each.value
}
