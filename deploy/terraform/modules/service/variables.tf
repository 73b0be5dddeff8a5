variable "project" {
  description = "Project of the service."
  type        = string
}

variable "region" {
  description = "Region of the service. The list is that of the HIPAA profile; change it if your rules differ."
  type        = string

  validation {
    condition     = contains(["us-central1", "us-east1", "us-east4", "us-west1", "us-west2"], var.region)
    error_message = "The region is not approved."
  }
}

variable "name" {
  description = "gate, or gate-events."
  type        = string
}

variable "image" {
  description = "The gate's image, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image is named by digest."
  }
}

variable "proxy_image" {
  description = "gcr.io/cloud-sql-connectors/cloud-sql-proxy, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.proxy_image))
    error_message = "The image is named by digest."
  }
}

variable "collector_image" {
  description = "The Managed Service for Prometheus sidecar for Cloud Run, by digest; null: metrics are collected in another way."
  type        = string
  default     = null

  validation {
    condition     = var.collector_image == null ? true : can(regex("@sha256:[0-9a-f]{64}$", var.collector_image))
    error_message = "The image is named by digest."
  }
}

variable "service_account" {
  description = "E-mail of the service's own account."
  type        = string

  validation {
    condition     = !can(regex("(-compute@developer|@appspot)\\.gserviceaccount\\.com$", var.service_account))
    error_message = "A default service account may do too much."
  }
}

variable "ingress" {
  description = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER behind the load balancer, INGRESS_TRAFFIC_INTERNAL_ONLY for gate-events."
  type        = string

  validation {
    condition     = contains(["INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "INGRESS_TRAFFIC_INTERNAL_ONLY"], var.ingress)
    error_message = "The service is not open to the Internet."
  }
}

variable "default_url_disabled" {
  description = "true behind a load balancer, so that requests cannot bypass Cloud Armor and IAP. gate-events needs its run.app address, since Pub/Sub and Cloud Scheduler can call no other."
  type        = bool
}

variable "audiences" {
  description = "Additional audiences of tokens besides the run.app address, such as https://gate.acme.example."
  type        = list(string)
  default     = []
}

variable "min_instances" {
  description = "Minimum number of instances."
  type        = number
  default     = 1
}

variable "max_instances" {
  description = "Maximum number of instances; each uses a few connections of the database."
  type        = number
  default     = 10
}

variable "kms_key" {
  description = "Key that encrypts the service, projects/…/cryptoKeys/K; null: a key of Google's."
  type        = string
  default     = null
}

variable "network" {
  description = "Network of Direct VPC egress."
  type        = string
}

variable "subnetwork" {
  description = "Subnet of Direct VPC egress."
  type        = string
}

variable "connector" {
  description = "Connector instead of Direct VPC egress."
  type        = string
  default     = null
}

variable "connection_name" {
  description = "PROJECT:REGION:INSTANCE of the database."
  type        = string
}

variable "connection_string" {
  description = "Connection string of the gate: the proxy on 127.0.0.1, without a password."
  type        = string

  validation {
    condition     = !can(regex("://[^@/]*:[^@/]*@", var.connection_string))
    error_message = "The connection string holds a password, which would stand in Terraform's state."
  }
}

variable "config" {
  description = "Text of attestor.yaml. It contains paths and no secrets."
  type        = string
}

variable "policies" {
  description = "Name to text of each policy. The configuration names their directories: /etc/attestor/policies/NAME."
  type        = map(string)
}

variable "files" {
  description = "Other files that policies and configuration name: trusted roots of Sigstore, public keys of bases. Name to {path, text}; each in a directory of its own under /etc/attestor."
  type        = map(object({ path = string, text = string }))
  default     = {}

  validation {
    condition     = alltrue([for f in values(var.files) : can(regex("^/etc/attestor/[a-z0-9-]+/[A-Za-z0-9._-]+$", f.path)) && !contains(["config", "database", "hash", "policies"], split("/", f.path)[3])])
    error_message = "Each path is /etc/attestor/DIRECTORY/FILE, and not in config, database, hash or policies."
  }

  validation {
    condition     = length(distinct([for f in values(var.files) : dirname(f.path)])) == length(var.files)
    error_message = "Cloud Run mounts one secret in one directory: give each file its own."
  }
}

variable "hash_key" {
  description = "Secret and version of the key that hashes callers in logs, mounted as /etc/attestor/hash/key; the same for both services. Create it outside Terraform, so that it is not in Terraform's state. null: each instance generates a key of its own."
  type        = object({ secret = string, version = string })
  default     = null

  validation {
    condition     = var.hash_key == null ? true : can(regex("^[A-Za-z0-9_-]+$", var.hash_key.secret)) && can(regex("^[1-9][0-9]*$", var.hash_key.version))
    error_message = "The secret is named without its project, and its version is a number: what runs is what was deployed."
  }
}

variable "invokers" {
  description = "Members that may call the service through Cloud Run. The gate then applies its own rules to them."
  type        = set(string)

  validation {
    condition     = !contains(var.invokers, "allUsers") && !contains(var.invokers, "allAuthenticatedUsers")
    error_message = "Everyone is not a caller."
  }
}

variable "suffix" {
  description = "Ends the names of this service's secrets, which are the project's and not a region's: set it to -REGION for a service of a further region."
  type        = string
  default     = ""
}

variable "settings" {
  description = "Top-level sections that replace those of config, such as {vsa = {…}, dependencies = {rates = {kms = 50}}}. Comments of the file are not kept."
  type        = any
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.settings), ["attestors", "dependencies", "events", "limits", "log", "registries", "telemetry", "vsa"])) == 0
    error_message = "Who may call, what the policies are and where decisions are kept belong into the file."
  }
}

variable "iap_readers" {
  description = "Members that reach this service through Identity-Aware Proxy on Cloud Run itself, without a load balancer: for a service that serves people only, beside gate. Its iapAudience is /projects/NUMBER/locations/REGION/services/NAME. Empty: no proxy."
  type        = set(string)
  default     = []

  validation {
    condition     = !contains(var.iap_readers, "allUsers") && !contains(var.iap_readers, "allAuthenticatedUsers")
    error_message = "Everyone is not a reader."
  }
}

variable "project_number" {
  description = "Number of the project, part of the name of IAP's service agent; needed with iap_readers."
  type        = string
  default     = null

  validation {
    condition     = var.project_number != null || length(var.iap_readers) == 0
    error_message = "With iap_readers, the project's number is needed."
  }
}

variable "settle" {
  description = "Seconds to wait after the service's grants were made, so that IAM applies them; 0: import the service and apply again if Cloud Run refuses it."
  type        = number
  default     = 60

  validation {
    condition     = var.settle >= 0 && var.settle <= 600 && floor(var.settle) == var.settle
    error_message = "Wait for 0 to 600 seconds."
  }
}
