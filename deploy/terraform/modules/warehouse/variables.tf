variable "project" {
  description = "Project of the topic and the table."
  type        = string
}

variable "project_number" {
  description = "Number of that project, part of the name of Pub/Sub's service agent."
  type        = string
}

variable "location" {
  description = "Location of the dataset, such as EU or us-east1."
  type        = string
}

variable "publishers" {
  description = "Members that publish rows: the service accounts of gate and gate-events."
  type        = list(string)
}
