variable "project" {
  description = "Project of the gate."
  type        = string
}

variable "project_number" {
  description = "Its number, by which IAP's service agent is called."
  type        = string
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "service" {
  description = "Name of the service behind the load balancer."
  type        = string
}

variable "api_host" {
  description = "Host of the API, such as gate.acme.example."
  type        = string
}

variable "pages_host" {
  description = "Host of the pages, such as gate-pages.acme.example."
  type        = string
}

variable "readers" {
  description = "Members that IAP lets read the pages, such as group:security@acme.example."
  type        = set(string)
}

variable "requests_per_minute" {
  description = "Requests a minute for one caller of the API, beyond which it is answered 429."
  type        = number
  default     = 600
}
