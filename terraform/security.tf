# Who may speak to whom: one list, from which the rules of both sides are made.

locals {
  groups = toset(concat(tolist(local.roles), ["balancer"], local.own ? ["endpoints"] : []))

  talks = merge(
    {
      balancer-asks-proxy = { from = "balancer", to = "proxy", port = local.ports.clients }
      worker-beats        = { from = "worker", to = "proxy", port = local.ports.admin }
      scaler-reads-proxy  = { from = "scaler", to = "proxy", port = local.ports.admin }
      proxy-asks-worker   = { from = "proxy", to = "worker", port = local.ports.worker }
    },
    { for role in local.roles : "${role}-reaches-aws" => { from = role, to = "endpoints", port = 443 } if local.own },
  )

  client_port = var.certificate_arn == null ? 80 : 443

  # By keys that a plan knows, also where the block of the VPC is known only after it is made.
  client_cidrs = (
    length(var.allowed_cidrs) > 0 ?
    { for cidr in var.allowed_cidrs : cidr => cidr } :
    { vpc = local.vpc_cidr }
  )
}

resource "aws_security_group" "this" {
  for_each    = local.groups
  name        = "${var.name}-${each.key}"
  description = "Tidegate ${var.name}: ${each.key}"
  vpc_id      = local.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-${each.key}" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "talk" {
  for_each                     = local.talks
  description                  = each.key
  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "talk" {
  for_each                     = local.talks
  description                  = each.key
  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each          = local.client_cidrs
  description       = "Clients"
  security_group_id = aws_security_group.this["balancer"].id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = local.client_port
  to_port           = local.client_port
}

# S3 and DynamoDB have public addresses even through a gateway endpoint. In the VPC that is made no
# route leads to any other.
resource "aws_vpc_security_group_egress_rule" "aws" {
  for_each          = local.roles
  description       = "APIs of AWS"
  security_group_id = aws_security_group.this[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
