# Proxies and scalers: single instances that keep their private address, and that AWS moves to other
# hardware when theirs fails. Workers are a group of their own, in workers.tf.

resource "aws_instance" "host" {
  #checkov:skip=CKV_AWS_126:Detailed monitoring costs by the metric; the daemons publish what counts.
  for_each                    = merge(local.proxies, local.scalers)
  ami                         = local.ami_id
  instance_type               = each.value.type
  subnet_id                   = local.subnet_ids[each.value.index % length(local.subnet_ids)]
  private_ip                  = each.value.address
  associate_public_ip_address = false
  vpc_security_group_ids      = [aws_security_group.this[each.value.role].id]
  iam_instance_profile        = aws_iam_instance_profile.role[each.value.role].name
  user_data_base64            = base64gzip(local.boot[each.value.role])
  user_data_replace_on_change = true
  ebs_optimized               = true
  tags                        = merge(local.tags, { Name = "${var.name}-${each.key}" })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  maintenance_options {
    auto_recovery = "default"
  }

  root_block_device {
    encrypted   = true
    volume_type = "gp3"
  }

  lifecycle {
    # A newer image of Amazon Linux is no reason to end all proxies at once.
    ignore_changes = [ami]
  }

  depends_on = [
    aws_iam_role_policy.role,
    aws_secretsmanager_secret_version.this,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.gateway,
  ]
}
