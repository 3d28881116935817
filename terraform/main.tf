# What the other files share: names, places, and what each role is.

data "aws_region" "here" {}
data "aws_partition" "here" {}
data "aws_caller_identity" "here" {}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0
  name  = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

locals {
  region  = data.aws_region.here.region
  account = data.aws_caller_identity.here.account_id
  arn     = "arn:${data.aws_partition.here.partition}"
  ami_id  = var.ami_id == null ? one(data.aws_ssm_parameter.ami[*].value) : var.ami_id
  tags    = merge(var.tags, { Service = var.name })

  roles = toset(["proxy", "scaler", "worker"])

  # Known before anything is made, so that hosts need not wait for the group that they speak of.
  group_name = "${var.name}-workers"
  ports      = { clients = 8080, admin = 9090, worker = 8090 }

  launch_hook    = "model-answers"
  terminate_hook = "drained"
}
