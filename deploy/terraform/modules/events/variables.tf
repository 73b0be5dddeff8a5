variable "project" {
  description = "Project of the gate."
  type        = string
}

variable "project_number" {
  description = "Number of that project, part of the name of Pub/Sub's service agent."
  type        = string
}

variable "region" {
  description = "Region of the schedule."
  type        = string
}

variable "uri" {
  description = "The run.app address of gate-events, which is also the audience of the tokens."
  type        = string
}

variable "pusher" {
  description = "Service account that calls: {email, name}."
  type        = object({ email = string, name = string, member = string })
}

variable "topics" {
  description = "Project to the topics that Google publishes to: cloud-builds in projects that build images, container-analysis-occurrences-v1 and gcr in projects that store them."
  type        = map(set(string))
}

variable "existing_topics" {
  description = "PROJECT/TOPIC of those cloud-builds and gcr that exist already. They are used, and neither created nor deleted."
  type        = set(string)
  default     = []
}

variable "create_container_analysis_topics" {
  description = "true: container-analysis-occurrences-v1 is created. Google creates it with the API, but cannot where an organization policy demands a customer-managed key for Pub/Sub."
  type        = bool
  default     = false
}

variable "events_member" {
  description = "The service account of gate-events, which publishes to the topic that distributes re-judging over its instances."
  type        = string
}

variable "prune" {
  description = "true: a schedule has gate-events delete the decisions that are older than store.retention of its configuration. The pusher needs the action prune on images [\"**\"] there."
  type        = bool
  default     = false
}

variable "schedule" {
  description = "When admitted images are judged again, in UTC."
  type        = string
  default     = "17 3 * * *"
}
