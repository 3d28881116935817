# A public service of one encoder: spot instances of three types beside one on demand.

terraform {
  required_version = ">= 1.11, < 2.0"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region
}

module "tidegate" {
  source = "../.."

  name = "encoders"
  model = {
    key    = "models/all-MiniLM-L6-v2.int8.safetensors"
    sha256 = var.model_sha256
    name   = "all-MiniLM-L6-v2"
  }

  workers = {
    min            = 1
    max            = 12
    instance_types = ["c7i.xlarge", "c6i.xlarge", "m7i.xlarge"]
  }
  spot = {
    on_demand_base = 1
    share_percent  = 80
  }
  cost = {
    price_per_hour  = var.price_per_hour
    budget_per_hour = 12 * var.price_per_hour
  }

  public          = true
  certificate_arn = var.certificate_arn
  allowed_cidrs   = var.allowed_cidrs
  api_keys_file   = var.api_keys_file

  worker_token   = var.worker_token
  operator_token = var.operator_token

  alarm_emails = var.alarm_emails
}
