# Where clients come in: internal, unless it is public with a certificate, networks and keys.

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:Access logs need a bucket of the account's own and cost by the request; the proxies count every request.
  #checkov:skip=CKV_AWS_150:Deletion protection would make `terraform destroy` fail; the load balancer holds nothing.
  #checkov:skip=CKV2_AWS_28:A firewall for the web is the account's own choice; clients come from allowed_cidrs and bring a key.
  name                       = var.name
  internal                   = !var.public
  load_balancer_type         = "application"
  subnets                    = local.lb_subnet_ids
  security_groups            = [aws_security_group.this["balancer"].id]
  drop_invalid_header_fields = true
  # Longer than line.longest_timeout of the proxies.
  idle_timeout = 610
  tags         = local.tags
}

resource "aws_lb_target_group" "proxies" {
  name        = "${var.name}-proxies"
  vpc_id      = local.vpc_id
  port        = local.ports.clients
  protocol    = "HTTP"
  target_type = "instance"
  # A proxy finishes what it has within its drain_limit, 60 s.
  deregistration_delay          = "60"
  load_balancing_algorithm_type = "least_outstanding_requests"
  tags                          = local.tags

  health_check {
    path                = "/readyz"
    interval            = 5
    timeout             = 2
    healthy_threshold   = 2
    unhealthy_threshold = 2
    matcher             = "200"
  }
}

resource "aws_lb_target_group_attachment" "proxies" {
  for_each         = local.proxies
  target_group_arn = aws_lb_target_group.proxies.arn
  target_id        = aws_instance.host[each.key].id
  port             = local.ports.clients
}

resource "aws_lb_listener" "clients" {
  load_balancer_arn = aws_lb.this.arn
  port              = local.client_port
  protocol          = var.certificate_arn == null ? "HTTP" : "HTTPS"
  certificate_arn   = var.certificate_arn
  ssl_policy        = var.certificate_arn == null ? null : "ELBSecurityPolicy-TLS13-1-2-2021-06"
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.proxies.arn
  }
}
