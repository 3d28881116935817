# The models and the size of the service.

variable "name" {
  description = "Name of the service; the prefix of all names."
  type        = string
  default     = "tidegate"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "name: expected 2 to 20 of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "model" {
  description = "The model of the workers: its object in the bucket of models, the SHA-256 of that object, and the id that clients name."
  type = object({
    key    = string
    sha256 = string
    name   = string
  })

  validation {
    condition     = can(regex("^models/[A-Za-z0-9._/-]+$", var.model.key)) && !strcontains(var.model.key, "..")
    error_message = "model.key: expected models/ and a path, the one prefix that workers may read."
  }
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.model.sha256))
    error_message = "model.sha256: expected 64 hexadecimal digits, as sha256sum prints them."
  }
  validation {
    condition     = can(regex("^[A-Za-z0-9._:-]{1,128}$", var.model.name))
    error_message = "model.name: expected up to 128 of A-Z a-z 0-9 . _ : -"
  }
}

variable "workers" {
  description = "The worker group: its bounds, its instance types (the price is that of the first), the longest time of a launch in seconds, and the root disk in GiB."
  type = object({
    min               = optional(number, 1)
    max               = optional(number, 10)
    instance_types    = optional(list(string), ["c7i.xlarge"])
    lead_time_seconds = optional(number, 240)
    disk_gib          = optional(number, 30)
  })
  default = {}

  validation {
    condition     = var.workers.min >= 0 && var.workers.max >= max(1, var.workers.min)
    error_message = "workers: expected 0 <= min <= max, and max of 1 or more."
  }
  validation {
    condition     = length(var.workers.instance_types) > 0
    error_message = "workers.instance_types: expected at least one."
  }
  validation {
    condition     = var.workers.lead_time_seconds >= 30 && var.workers.lead_time_seconds <= 3600
    error_message = "workers.lead_time_seconds: expected 30 to 3600."
  }
}

variable "spot" {
  description = "A mixed group: this many instances on demand, and this share of the others from the spot market. Use several instance types with it. Null: only on demand."
  type = object({
    on_demand_base = optional(number, 1)
    share_percent  = optional(number, 100)
  })
  default = null

  validation {
    condition     = var.spot == null || try(var.spot.share_percent >= 0 && var.spot.share_percent <= 100, false)
    error_message = "spot.share_percent: expected 0 to 100."
  }
  validation {
    condition     = var.spot == null || var.warm_pool == null
    error_message = "spot and warm_pool exclude each other: AWS keeps no warm pool for a mixed group."
  }
}

variable "warm_pool" {
  description = "Stopped instances that have booted before, so that a launch is faster; they cost their disk. Null: none."
  type = object({
    min_size     = optional(number, 1)
    max_prepared = optional(number, 4)
  })
  default = null

  validation {
    condition     = var.warm_pool == null || length(var.workers.instance_types) == 1
    error_message = "warm_pool: expected one instance type, as several make a mixed group, for which AWS keeps no warm pool."
  }
}

variable "proxies" {
  description = "Number and instance type of the proxies. One handles some ten thousand small requests per second on two cores."
  type = object({
    count         = optional(number, 2)
    instance_type = optional(string, "c7i.large")
  })
  default = {}

  validation {
    condition     = var.proxies.count >= 1 && var.proxies.count <= 8
    error_message = "proxies.count: expected 1 to 8, the addresses that one DNS answer is sure to hold."
  }
}

variable "scalers" {
  description = "Number and instance type of the scalers. One acts, the others wait for its lease."
  type = object({
    count         = optional(number, 2)
    instance_type = optional(string, "t3.small")
  })
  default = {}

  validation {
    condition     = var.scalers.count >= 1 && var.scalers.count <= 3
    error_message = "scalers.count: expected 1 to 3."
  }
}

variable "policy" {
  description = "The scaler's policy, in TOML: everything but the tables proxies, scaler, asg, lease and cloudwatch, which the module appends. Null: templates/policy.toml.tftpl."
  type        = string
  default     = null
}

variable "sources" {
  description = "The queues of SQS, metrics of CloudWatch and workspaces of managed Prometheus that the `[[source]]` tables of your policy read. The scalers get permission to read them, and a VPC of the module gets the endpoints."
  type = object({
    sqs_queue_arns            = optional(list(string), [])
    cloudwatch                = optional(bool, false)
    prometheus_workspace_arns = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = alltrue([for arn in var.sources.sqs_queue_arns : can(regex("^arn:[a-z-]+:sqs:", arn))])
    error_message = "sources.sqs_queue_arns: expected ARNs such as arn:aws:sqs:eu-central-1:123456789012:jobs."
  }
  validation {
    condition     = alltrue([for arn in var.sources.prometheus_workspace_arns : can(regex("^arn:[a-z-]+:aps:", arn))])
    error_message = "sources.prometheus_workspace_arns: expected ARNs such as arn:aws:aps:eu-central-1:123456789012:workspace/ws-1."
  }
}

variable "slo" {
  description = "The SLO: the latency from arrival to the end of the answer, and how long a request may wait in the queue before an alarm is sent."
  type = object({
    latency_ms     = optional(number, 2000)
    oldest_wait_ms = optional(number, 10000)
    error_percent  = optional(number, 1)
  })
  default = {}

  validation {
    condition     = alltrue([for value in values(var.slo) : value > 0])
    error_message = "slo: expected numbers greater than 0."
  }
}

variable "cost" {
  description = "The price of a worker's instance-hour, from AWS's price page, and the cost of the fleet per hour above which an alarm is sent."
  type = object({
    price_per_hour  = number
    budget_per_hour = number
  })

  validation {
    condition     = var.cost.price_per_hour > 0 && var.cost.budget_per_hour >= var.cost.price_per_hour
    error_message = "cost: expected a price greater than 0, and a budget for at least one worker."
  }
}

# Network and access.

variable "network" {
  description = "Your VPC, which must reach S3, ECR and the other services. Null: the module creates one, without internet access except for a public load balancer."
  type = object({
    vpc_id                   = string
    private_subnet_ids       = list(string)
    load_balancer_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.network == null || try(length(var.network.private_subnet_ids) > 0 && length(var.network.load_balancer_subnet_ids) >= 2, false)
    error_message = "network: expected a private subnet or more, and two or more for the load balancer."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that the module creates; ignored with network."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 15)) && try(tonumber(split("/", var.vpc_cidr)[1]) <= 22, false)
    error_message = "vpc_cidr: expected an IPv4 block of /22 or larger."
  }
}

variable "zones" {
  description = "Number of availability zones with subnets in the VPC that the module creates."
  type        = number
  default     = 2

  validation {
    condition     = var.zones >= 2 && var.zones <= 4
    error_message = "zones: expected 2 to 4; a load balancer needs two."
  }
}

variable "public" {
  description = "Whether the load balancer is reachable from the internet; it then needs certificate_arn, allowed_cidrs and api_keys_file."
  type        = bool
  default     = false

  validation {
    condition     = !var.public || (var.certificate_arn != null && length(var.allowed_cidrs) > 0 && var.api_keys_file != null)
    error_message = "public: expected certificate_arn, allowed_cidrs and api_keys_file as well."
  }
}

variable "certificate_arn" {
  description = "Certificate of the load balancer (ACM). Null: plain HTTP inside the VPC."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:[a-z-]+:acm:", var.certificate_arn))
    error_message = "certificate_arn: expected the ARN of a certificate in ACM."
  }
}

variable "allowed_cidrs" {
  description = "Networks whose clients reach the load balancer. Empty: only the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "allowed_cidrs: expected IPv4 blocks such as 203.0.113.0/24."
  }
}

# Secrets. None of them is in a plan, in state or in user data.

variable "worker_token" {
  description = "The token that workers and proxies share: 16 characters or more."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "operator_token" {
  description = "The token of the scaler and of operators for the proxies' admin ports: 16 characters or more."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "api_keys_file" {
  description = "File with the hashes of the clients' keys, as `tidegate-proxy key NAME` prints them. Null: anybody who reaches the load balancer may send requests."
  type        = string
  default     = null

  validation {
    condition     = var.api_keys_file == null || try(fileexists(var.api_keys_file), false)
    error_message = "api_keys_file: there is no such file."
  }
}

variable "secrets_version" {
  description = "Raise it when a token or a key has changed: Terraform cannot compare write-only values."
  type        = number
  default     = 1
}

# Images, logs and tags.

variable "images" {
  description = "Images of your registry, with tag or digest; its network must be reachable. Null: the module creates repositories in ECR and uses image_tag from them."
  type = object({
    proxy  = string
    scaler = string
    worker = string
  })
  default = null

  validation {
    condition     = var.images == null || var.network != null || try(alltrue([for image in values(var.images) : can(regex("\\.dkr\\.ecr\\.", image))]), false)
    error_message = "images: the VPC that the module creates reaches only ECR; another registry needs network."
  }
}

variable "image_tag" {
  description = "Tag of the images in the module's repositories."
  type        = string
  default     = "v1"
}

variable "ami_id" {
  description = "Image of the machines: Amazon Linux 2023. With Docker in the image it need not be installed at each launch. Null: AWS's own image."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]+$", var.ami_id))
    error_message = "ami_id: expected an id such as ami-0123456789abcdef0."
  }
}

# Who gets the alarms.

variable "alarm_emails" {
  description = "Addresses that get the alarms; each must confirm once."
  type        = list(string)
  default     = []
}

variable "log_days" {
  description = "How many days logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827], var.log_days)
    error_message = "log_days: CloudWatch takes 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 or 1827."
  }
}

variable "tags" {
  description = "Tags of all resources."
  type        = map(string)
  default     = {}
}
