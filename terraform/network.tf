# The VPC, unless you bring one. Its hosts have no public address and no way to the internet: they
# reach AWS through endpoints. Only a public load balancer has a gateway.

data "aws_availability_zones" "here" {
  #checkov:skip=CKV_AWS_394:The first var.zones of the names in order are taken, so a zone that AWS adds changes nothing.
  state = "available"

  # No local zones: they have neither endpoints nor load balancers.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_vpc" "brought" {
  count = local.own ? 0 : 1
  id    = var.network.vpc_id
}

locals {
  own   = var.network == null
  zones = local.own ? slice(data.aws_availability_zones.here.names, 0, var.zones) : []

  subnets = merge(
    { for index, zone in local.zones : "private-${zone}" => { zone = zone, block = index } },
    { for index, zone in local.zones : "public-${zone}" => { zone = zone, block = index + 8 } if var.public },
  )
  own_private = [for zone in local.zones : "private-${zone}"]
  own_public  = [for zone in local.zones : "public-${zone}" if var.public]

  vpc_id     = local.own ? one(aws_vpc.this[*].id) : var.network.vpc_id
  vpc_cidr   = local.own ? var.vpc_cidr : one(data.aws_vpc.brought[*].cidr_block)
  subnet_ids = local.own ? [for name in local.own_private : aws_subnet.this[name].id] : var.network.private_subnet_ids
  lb_subnet_ids = (
    !local.own ? var.network.load_balancer_subnet_ids :
    [for name in(var.public ? local.own_public : local.own_private) : aws_subnet.this[name].id]
  )

  gateways = local.own ? toset(["s3", "dynamodb"]) : toset([])
  interfaces = !local.own ? toset([]) : toset(concat(
    ["ecr.api", "ecr.dkr", "secretsmanager", "logs", "monitoring", "autoscaling"],
    length(var.sources.sqs_queue_arns) > 0 ? ["sqs"] : [],
    length(var.sources.prometheus_workspace_arns) > 0 ? ["aps-workspaces"] : [],
  ))
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs cost by the gigabyte and are the account's own choice.
  #checkov:skip=CKV2_AWS_12:No host uses the default group; each names its own.
  count                = local.own ? 1 : 0
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = var.name })
}

resource "aws_subnet" "this" {
  for_each                = local.subnets
  vpc_id                  = one(aws_vpc.this[*].id)
  availability_zone       = each.value.zone
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, each.value.block)
  map_public_ip_on_launch = false
  tags                    = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_route_table" "this" {
  for_each = local.own ? toset(concat(["private"], var.public ? ["public"] : [])) : toset([])
  vpc_id   = one(aws_vpc.this[*].id)
  tags     = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_route_table_association" "this" {
  for_each       = local.subnets
  subnet_id      = aws_subnet.this[each.key].id
  route_table_id = aws_route_table.this[startswith(each.key, "public-") ? "public" : "private"].id
}

resource "aws_internet_gateway" "this" {
  count  = local.own && var.public ? 1 : 0
  vpc_id = one(aws_vpc.this[*].id)
  tags   = merge(local.tags, { Name = var.name })
}

resource "aws_route" "internet" {
  count                  = length(aws_internet_gateway.this)
  route_table_id         = aws_route_table.this["public"].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = one(aws_internet_gateway.this[*].id)
}

resource "aws_vpc_endpoint" "gateway" {
  for_each          = local.gateways
  vpc_id            = local.vpc_id
  service_name      = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this["private"].id]
  tags              = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_vpc_endpoint" "interface" {
  for_each            = local.interfaces
  vpc_id              = local.vpc_id
  service_name        = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = local.subnet_ids
  security_group_ids  = [aws_security_group.this["endpoints"].id]
  tags                = merge(local.tags, { Name = "${var.name}-${each.key}" })
}
