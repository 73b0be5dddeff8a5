variable "project" {
  description = "Project of the bucket; not the gate's project if duties are separated."
  type        = string
}

variable "location" {
  description = "Location of the bucket, such as us-east1."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket, unique in all of Google Cloud."
  type        = string
}

variable "retention_days" {
  description = "How long an export is kept at least. HIPAA asks for six years of documentation."
  type        = number
  default     = 2190

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 36500
    error_message = "Cloud Storage retains for 1 day to 100 years."
  }
}

variable "locked" {
  description = "true: nobody, not even an owner, can shorten the time again. It cannot be undone."
  type        = bool
  default     = false
}

variable "kms_key" {
  description = "Key that encrypts the exports, projects/…/cryptoKeys/K; null: a key of Google's."
  type        = string
  default     = null
}

variable "writers" {
  description = "Members that write exports, such as the account of a scheduled job."
  type        = set(string)
  default     = []
}

variable "readers" {
  description = "Members that read exports, such as group:audit@acme.example."
  type        = set(string)
  default     = []
}
