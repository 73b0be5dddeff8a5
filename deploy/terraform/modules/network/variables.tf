variable "project" {
  description = "Project of the network: the gate's, or the host project of a Shared VPC."
  type        = string
}

variable "region" {
  description = "Region of the services."
  type        = string
}

variable "cidr" {
  description = "Range of the services' subnet: two to four addresses for each instance, /26 at least."
  type        = string
  default     = "10.10.0.0/24"
}

variable "proxy_cidr" {
  description = "Range for the proxies of an internal load balancer; null: no internal load balancer."
  type        = string
  default     = null
}

variable "subnet_users" {
  description = "Members that may connect services to the subnet: the Cloud Run service agent of each project that uses a Shared VPC."
  type        = set(string)
  default     = []
}

variable "connector" {
  description = "A Serverless VPC Access connector instead of Direct VPC egress: {cidr, min, max, machine_type}; null: Direct VPC egress, which needs no machines."
  type = object({
    cidr         = string
    min          = number
    max          = number
    machine_type = string
  })
  default = null
}

variable "private_service_connect" {
  description = "Address for a Private Service Connect endpoint, outside of every subnet's range, such as 10.10.255.1: run.app is then reached through it. null: by Private Google Access (private.googleapis.com)."
  type        = string
  default     = null
}

variable "other_regions" {
  description = "Further regions of the services, each with the range of its subnet, such as {us-east4 = \"10.20.0.0/24\"}."
  type        = map(string)
  default     = {}
}
