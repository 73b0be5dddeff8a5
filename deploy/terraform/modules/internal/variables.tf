variable "project" {
  description = "Project of the gate."
  type        = string
}

variable "region" {
  description = "Region of the service."
  type        = string
}

variable "network" {
  description = "Network of the load balancer; it needs a subnet for proxies (proxy_cidr of module network)."
  type        = string
}

variable "subnetwork" {
  description = "Subnet of its address."
  type        = string
}

variable "service" {
  description = "Name of the service behind the load balancer."
  type        = string
}

variable "certificate" {
  description = "A regional certificate of the API's internal host: projects/P/regions/R/sslCertificates/C."
  type        = string
}
