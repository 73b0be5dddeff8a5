variable "project" {
  description = "Project of the metrics."
  type        = string
}

variable "notification_channels" {
  description = "Notification channels: projects/P/notificationChannels/N."
  type        = list(string)
}

variable "runbook" {
  description = "URL of docs/operations.md; each alert links to its section."
  type        = string
}

variable "collected" {
  description = "false: nothing collects the gate's metrics, and there are no alerts. AttestorAbsent would be raised for ever, and the others never."
  type        = bool
  default     = true
}
