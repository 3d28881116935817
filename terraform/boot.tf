# What a machine does when it starts: one script for all three roles.

locals {
  images = var.images != null ? var.images : {
    for role in local.roles : role => "${aws_ecr_repository.this[role].repository_url}:${var.image_tag}"
  }

  configs = {
    proxy  = { file = "proxy.toml", text = local.proxy_config }
    scaler = { file = "policy.toml", text = local.policy }
    worker = { file = "worker.toml", text = local.worker_config }
  }

  arguments = {
    proxy  = "--config /etc/tidegate/proxy.toml --listen 0.0.0.0:${local.ports.clients} --admin 0.0.0.0:${local.ports.admin}"
    scaler = "run --policy /etc/tidegate/policy.toml"
    worker = "serve --config /etc/tidegate/worker.toml --listen 0.0.0.0:${local.ports.worker} --model ${local.model_url}"
  }

  boot = {
    for role in local.roles : role => templatefile("${path.module}/templates/boot.sh.tftpl", {
      region      = local.region
      image       = local.images[role]
      registry    = split("/", local.images[role])[0]
      log_group   = aws_cloudwatch_log_group.role[role].name
      config_file = local.configs[role].file
      config      = base64encode(local.configs[role].text)
      arguments   = local.arguments[role]
      # Names and places of secrets, never what they say.
      secrets = join(" ", [for name in local.secrets_of[role] : "${name}=${aws_secretsmanager_secret.this[name].arn}"])
    })
  }
}
