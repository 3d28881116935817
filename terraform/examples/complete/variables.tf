variable "region" {
  description = "Where it stands."
  type        = string
  default     = "eu-central-1"
}

variable "model_sha256" {
  description = "Of the model file: sha256sum FILE."
  type        = string
}

variable "price_per_hour" {
  description = "Of a c7i.xlarge on demand in this region, from https://aws.amazon.com/ec2/pricing/on-demand/."
  type        = number
}

variable "certificate_arn" {
  description = "Certificate in ACM for the name under which clients ask."
  type        = string
}

variable "allowed_cidrs" {
  description = "Networks of the clients."
  type        = list(string)
}

variable "api_keys_file" {
  description = "File with hashes of keys, from `tidegate-proxy key NAME`."
  type        = string
}

variable "worker_token" {
  description = "head -c 24 /dev/urandom | base64"
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "operator_token" {
  description = "head -c 24 /dev/urandom | base64"
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "alarm_emails" {
  description = "Who is written to when an alarm goes off."
  type        = list(string)
  default     = []
}
