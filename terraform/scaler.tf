# The scalers, what they go by, and the table by which one of them acts.

locals {
  scalers = {
    for index in range(var.scalers.count) : "scaler-${index}" => {
      role    = "scaler"
      index   = index
      type    = var.scalers.instance_type
      address = null
    }
  }

  # Where the fleet is and how it is reached, which is never yours to write.
  policy_lines = templatefile("${path.module}/templates/policy-lines.toml.tftpl", {
    name           = var.name
    region         = local.region
    proxies        = local.proxies_url
    group          = local.group_name
    launch_hook    = local.launch_hook
    terminate_hook = local.terminate_hook
    lease_table    = local.lease_table
  })

  default_policy = templatefile("${path.module}/templates/policy.toml.tftpl", {
    model           = var.model.name
    min             = var.workers.min
    max             = var.workers.max
    lead_time       = var.workers.lead_time_seconds
    latency_ms      = var.slo.latency_ms
    price_per_hour  = var.cost.price_per_hour
    budget_per_hour = var.cost.budget_per_hour
  })

  policy      = "${coalesce(var.policy, local.default_policy)}\n${local.policy_lines}"
  lease_table = "${var.name}-scaler"
}

resource "aws_dynamodb_table" "lease" {
  name         = local.lease_table
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "lease"
  tags         = local.tags

  attribute {
    name = "lease"
    type = "S"
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = aws_kms_key.this.arn
  }

  point_in_time_recovery {
    enabled = true
  }
}
