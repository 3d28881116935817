# The proxies, and the one name under which workers and scalers find all of them.

locals {
  proxies = {
    for index in range(var.proxies.count) : "proxy-${index}" => {
      role  = "proxy"
      index = index
      type  = var.proxies.instance_type
      # The first four addresses and the last of a subnet are AWS's. In your own VPC AWS chooses one,
      # which the instance keeps as well.
      address = local.own ? cidrhost(cidrsubnet(var.vpc_cidr, 4, index % var.zones), 10 + index) : null
    }
  }

  proxies_name = "proxies.${var.name}.internal"
  proxies_url  = "http://${local.proxies_name}:${local.ports.admin}"

  proxy_config = templatefile("${path.module}/templates/proxy.toml.tftpl", {
    model    = var.model.name
    api_keys = var.api_keys_file == null ? "# api_keys_file: none" : "api_keys_file = \"/etc/tidegate/api-keys\""
  })
}

resource "aws_route53_zone" "internal" {
  name = "${var.name}.internal"
  tags = local.tags

  vpc {
    vpc_id = local.vpc_id
  }
}

resource "aws_route53_record" "proxies" {
  zone_id = aws_route53_zone.internal.zone_id
  name    = local.proxies_name
  type    = "A"
  # Workers and scalers ask again every few seconds.
  ttl     = 5
  records = [for name in keys(local.proxies) : aws_instance.host[name].private_ip]
}
