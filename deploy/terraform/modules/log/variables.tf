variable "project" {
  description = "Project of key and bucket; not the gate's project if duties are separated."
  type        = string
}

variable "location" {
  description = "Location of key ring and bucket, such as us-east1."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket, unique in all of Google Cloud."
  type        = string
}

variable "origin" {
  description = "log.origin of the configuration, such as gate.acme.example/decisions: the folder of the bucket that the log is copied to."
  type        = string
}

variable "gate_members" {
  description = "The service accounts of gate and gate-events, serviceAccount:…, by name: both record decisions in one log."
  type        = map(string)
}
