variable "project" {
  description = "Project of the two services."
  type        = string
}

variable "build_project" {
  description = "Project in which images are built."
  type        = string
}

variable "people" {
  description = "Task to the members that may perform it, such as {oncall = [\"group:oncall@acme.example\"]}. People cannot get ID tokens of their own for the gate's audience. They call as the service account gate-TASK; the audit log names the person."
  type        = map(set(string))
  default     = {}

  # IAM: account ids have 6 to 30 characters. gate- takes five of them.
  validation {
    condition     = alltrue([for task in keys(var.people) : can(regex("^[a-z]([a-z0-9-]{0,23}[a-z0-9])?$", task))])
    error_message = "A task has at most 25 characters (a-z, 0-9 and -), since its service account is gate-TASK and may have 30."
  }

  validation {
    condition     = length(setintersection(keys(var.people), ["api", "events", "pusher", "builder"])) == 0
    error_message = "api, events, pusher and builder are service accounts of the gate's own: give the task another name."
  }

  validation {
    condition     = !anytrue([for task in keys(var.people) : startswith(task, "ci-")])
    error_message = "gate-ci-… are service accounts of module federation: give the task another name."
  }
}
