variable "project" {
  description = "Project of the key; with split projects, that of the signing key."
  type        = string
}

variable "location" {
  description = "Location of the key ring: the region of the services."
  type        = string
}

variable "run_project_number" {
  description = "Number of the services' project, part of the name of Cloud Run's service agent."
  type        = string
}
