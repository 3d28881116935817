# The fleet: an Auto Scaling Group that the scaler alone resizes.

locals {
  # Several types, or spot instances, make it a mixed group.
  mixed       = var.spot != null || length(var.workers.instance_types) > 1
  worker_type = var.workers.instance_types[0]
  model_url   = "s3://${aws_s3_bucket.models.bucket}/${var.model.key}#sha256=${var.model.sha256}"

  # By default a worker is in service when its model answers, and is gone when it has drained.
  hooks = {
    (local.launch_hook) = {
      transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
      seconds    = max(600, 2 * var.workers.lead_time_seconds)
      default    = "ABANDON"
    }
    (local.terminate_hook) = {
      transition = "autoscaling:EC2_INSTANCE_TERMINATING"
      seconds    = 300
      default    = "CONTINUE"
    }
  }

  worker_config = templatefile("${path.module}/templates/worker.toml.tftpl", {
    name    = var.model.name
    proxies = local.proxies_url
    region  = local.region
  })
}

resource "aws_launch_template" "worker" {
  #checkov:skip=CKV_AWS_341:Containers are one hop further than the machine; IMDSv2 is required below.
  name                   = local.group_name
  image_id               = local.ami_id
  instance_type          = local.worker_type
  user_data              = base64gzip(local.boot.worker)
  update_default_version = true
  ebs_optimized          = "true"
  tags                   = local.tags

  iam_instance_profile {
    name = aws_iam_instance_profile.role["worker"].name
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }

  network_interfaces {
    associate_public_ip_address = "false"
    security_groups             = [aws_security_group.this["worker"].id]
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      encrypted             = "true"
      volume_type           = "gp3"
      volume_size           = var.workers.disk_gib
      delete_on_termination = "true"
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])
    content {
      resource_type = tag_specifications.key
      tags          = merge(local.tags, { Name = local.group_name })
    }
  }
}

resource "aws_autoscaling_group" "workers" {
  name                = local.group_name
  vpc_zone_identifier = local.subnet_ids
  min_size            = var.workers.min
  max_size            = var.workers.max
  desired_capacity    = var.workers.min

  # The scaler names every worker that goes; nothing else may choose one, or move one to another zone.
  protect_from_scale_in = true
  suspended_processes   = ["AZRebalance"]
  capacity_rebalance    = false

  health_check_type         = "EC2"
  default_instance_warmup   = 0
  wait_for_capacity_timeout = "0"
  metrics_granularity       = "1Minute"
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances", "GroupTerminatingInstances"]

  dynamic "launch_template" {
    for_each = local.mixed ? [] : [aws_launch_template.worker]
    content {
      id      = launch_template.value.id
      version = launch_template.value.latest_version
    }
  }

  dynamic "mixed_instances_policy" {
    for_each = local.mixed ? [aws_launch_template.worker] : []
    content {
      launch_template {
        launch_template_specification {
          launch_template_id = mixed_instances_policy.value.id
          version            = mixed_instances_policy.value.latest_version
        }
        dynamic "override" {
          for_each = var.workers.instance_types
          content {
            instance_type = override.value
          }
        }
      }
      instances_distribution {
        on_demand_base_capacity                  = try(var.spot.on_demand_base, 0)
        on_demand_percentage_above_base_capacity = 100 - try(var.spot.share_percent, 0)
        on_demand_allocation_strategy            = "prioritized"
        spot_allocation_strategy                 = "price-capacity-optimized"
      }
    }
  }

  dynamic "warm_pool" {
    for_each = var.warm_pool == null ? [] : [var.warm_pool]
    content {
      pool_state                  = "Stopped"
      min_size                    = warm_pool.value.min_size
      max_group_prepared_capacity = warm_pool.value.max_prepared
    }
  }

  dynamic "tag" {
    for_each = merge(local.tags, { Name = local.group_name, managed-by = "tidegate-scaler" })
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The scaler owns the first; groups that an earlier version made have their hooks in the second.
    ignore_changes = [desired_capacity, initial_lifecycle_hook]

    precondition {
      condition     = var.spot == null || var.warm_pool == null
      error_message = "spot and warm_pool exclude each other."
    }
  }

  depends_on = [
    aws_iam_role_policy.role,
    aws_secretsmanager_secret_version.this,
    aws_vpc_endpoint.interface,
    aws_vpc_endpoint.gateway,
  ]
}

# Not in the group itself, where a hook that changes would replace the whole group. An instance that
# AWS launches before the hooks are there counts as in service at once; the proxies hand it requests
# only once its model answers.
resource "aws_autoscaling_lifecycle_hook" "workers" {
  for_each               = local.hooks
  name                   = each.key
  autoscaling_group_name = aws_autoscaling_group.workers.name
  lifecycle_transition   = each.value.transition
  heartbeat_timeout      = each.value.seconds
  default_result         = each.value.default
}
