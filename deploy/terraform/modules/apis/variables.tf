variable "projects" {
  description = "Project id to its purposes: any of gate, keys, images, deploy, build. One project may have all of them."
  type        = map(set(string))

  validation {
    condition     = alltrue([for roles in values(var.projects) : alltrue([for r in roles : contains(["gate", "keys", "images", "deploy", "build"], r)])])
    error_message = "Each project is for gate, keys, images, deploy or build."
  }
}

variable "settle" {
  description = "Seconds to wait after service agents were created, so that IAM knows them; 0: apply again if a grant is refused."
  type        = number
  default     = 60

  validation {
    condition     = var.settle >= 0 && var.settle <= 600 && floor(var.settle) == var.settle
    error_message = "Wait for 0 to 600 seconds."
  }
}
