variable "projects" {
  description = "Project id to its purposes: any of gate, keys, images, deploy, build. One project may have all of them."
  type        = map(set(string))

  validation {
    condition     = alltrue([for roles in values(var.projects) : alltrue([for r in roles : contains(["gate", "keys", "images", "deploy", "build"], r)])])
    error_message = "Each project is for gate, keys, images, deploy or build."
  }
}
