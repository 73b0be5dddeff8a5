variable "project" {
  description = "Project of the database."
  type        = string
}

variable "region" {
  description = "Region of the database."
  type        = string
}

variable "network" {
  description = "Network from which clients connect."
  type        = string
}

variable "peering" {
  description = "Output peering of module network, on which the database depends."
  type        = string
}

variable "name" {
  description = "Name of the instance. The name of a deleted instance cannot be used again for a week: after a deletion choose another."
  type        = string
  default     = "gate"
}

variable "tier" {
  description = "Machine of the database."
  type        = string
  default     = "db-custom-2-7680"
}

variable "kms_key" {
  description = "Key that encrypts the database, projects/…/cryptoKeys/K; null: a key of Google's."
  type        = string
  default     = null
}

variable "users" {
  description = "E-mail addresses of the service accounts that use the database."
  type        = map(string)
}

variable "replica_region" {
  description = "Region of a replica that takes over when the database's region fails; null: no replica. docs/deploy.md, Several regions, has the runbook."
  type        = string
  default     = null
}

variable "replica_kms_key" {
  description = "Key of the replica's region that encrypts it; needed where kms_key is set."
  type        = string
  default     = null
}

variable "promoted" {
  description = "true: the replica is the database. It cannot become a replica again."
  type        = bool
  default     = false

  validation {
    condition     = !var.promoted || var.replica_region != null
    error_message = "There is no replica to promote."
  }
}
