variable "organization" {
  description = "Number of the organisation."
  type        = string
}

variable "access_policy" {
  description = "Number of the organisation's access policy; null: no perimeter."
  type        = string
  default     = null
}

variable "protected_projects" {
  description = "Numbers of the projects of registry, keys and attestations."
  type        = set(string)
  default     = []
}

variable "ingress" {
  description = "Who may use protected services from outside the perimeter, by a name for the rule: {identities, services, projects}. projects are the numbers of the projects whose networks the requests come from. Leave them out for identities that have no network of yours: builds outside a private pool, and Google's service agents. Their requests are admitted from everywhere."
  type = map(object({
    identities = set(string)
    services   = set(string)
    projects   = optional(set(string), [])
  }))
  default = {}

  validation {
    condition     = alltrue([for r in values(var.ingress) : length(r.identities) > 0 && length(r.services) > 0 && !contains(r.services, "*")])
    error_message = "Each rule names its identities and its services: a rule without them admits everyone, or to everything."
  }
}

variable "egress" {
  description = "What identities inside the perimeter may use outside of it, by a name for the rule: {identities, services, projects}, such as a job in the images' project that copies bases from another project's registry. projects are the numbers of the projects outside."
  type = map(object({
    identities = set(string)
    services   = set(string)
    projects   = set(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for r in values(var.egress) : length(r.identities) > 0 && length(r.services) > 0 && length(r.projects) > 0 && !contains(r.services, "*")])
    error_message = "Each rule names its identities, its services and the projects outside."
  }
}

variable "enforce_perimeter" {
  description = "false: the perimeter only logs requests that it would refuse. Review these logs for a week first."
  type        = bool
  default     = false
}

variable "scope" {
  description = "null: the rules hold for every service of the organisation. Or tags of yours, each ORGANIZATION/KEY/VALUE, for which they hold: {production, internal}. What is tagged production must have Binary Authorization and VPC egress; what is tagged internal may not be called directly from the Internet. Bind the tags to folders, projects or services, and let few people bind and unbind them."
  type        = object({ production = string, internal = string })
  default     = null

  validation {
    condition     = var.scope == null ? true : alltrue([for tag in [var.scope.production, var.scope.internal] : can(regex("^[0-9]+/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", tag))])
    error_message = "A tag is ORGANIZATION/KEY/VALUE, such as 123/environment/production."
  }
}
