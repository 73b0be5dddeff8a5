variable "project" {
  description = "Project of the gate."
  type        = string
}

variable "project_number" {
  description = "Number of that project, part of the name of IAP's service agent."
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
  description = "Members that may read the pages through IAP, such as group:security@acme.example."
  type        = set(string)
}

variable "requests_per_minute" {
  description = "Limit of requests to the API per minute from one address; above it, the answer is 429. Builds share the address of their NAT: allow what all of them need. The gate limits each caller itself (limits.callerRate of its configuration)."
  type        = number
  default     = 3000
}

variable "other_regions" {
  description = "Further regions in which a service of the same name runs. The load balancer sends each request to the nearest region, and for a minute not to one that answered ten in a row with 502, 503 or 504."
  type        = set(string)
  default     = []
}

variable "former_certificates" {
  description = "Certificates that serve until Google has issued the one for these hosts, projects/P/global/sslCertificates/C: docs/deploy.md, Upgrading the modules, says when they are needed."
  type        = list(string)
  default     = []
}
