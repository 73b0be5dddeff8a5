variable "project" {
  description = "Project of the pool."
  type        = string
}

variable "project_number" {
  description = "Its number."
  type        = string
}

variable "oidc" {
  description = "Provider to {issuer, condition, attributes}: condition is CEL over assertion and must restrict the organisation; otherwise every identity of that issuer is admitted. attributes are mapped in addition to google.subject."
  type = map(object({
    issuer     = string
    condition  = string
    attributes = map(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for p in values(var.oidc) : strcontains(p.condition, "assertion.")])
    error_message = "The condition says whose tokens count."
  }

  validation {
    condition     = alltrue([for name in keys(var.oidc) : can(regex("^[a-z0-9-]{4,32}$", name)) && !startswith(name, "gcp-")])
    error_message = "A provider's name has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}

variable "aws_accounts" {
  description = "AWS accounts whose roles may call, by provider name."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.aws_accounts) : can(regex("^[a-z0-9-]{4,32}$", name)) && !startswith(name, "gcp-")])
    error_message = "A provider's name has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}

variable "saml" {
  description = "SAML 2.0 providers: name to the XML of their metadata."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.saml) : can(regex("^[a-z0-9-]{4,32}$", name)) && !startswith(name, "gcp-")])
    error_message = "A provider's name has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}

variable "callers" {
  description = "Caller to the last part of a principalSet, such as attribute.repository/acme/api or attribute.aws_role/builder."
  type        = map(string)

  # IAM: account ids have at most 30 characters. gate-ci- takes eight of them.
  validation {
    condition     = alltrue([for name in keys(var.callers) : can(regex("^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$", name))])
    error_message = "A caller has at most 22 characters (a-z, 0-9 and -), since its service account is gate-ci-CALLER and may have 30."
  }
}

variable "pool" {
  description = "Id of the pool. The id of a deleted pool cannot be used again for 30 days: after a deletion choose another."
  type        = string
  default     = "gate-ci"

  validation {
    condition     = can(regex("^[a-z0-9-]{4,32}$", var.pool)) && !startswith(var.pool, "gcp-")
    error_message = "A pool's id has 4 to 32 characters (a-z, 0-9 and -) and does not begin with gcp-, which is Google's."
  }
}
