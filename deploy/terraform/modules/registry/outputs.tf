output "repository" {
  description = "HOST/PROJECT/REPOSITORY, for policies and docker."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}
