# What each role may do, and nothing else. Only what no ARN can name has "*".

locals {
  group_arn = "${local.arn}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${local.group_name}"

  # Of another registry nothing is to be allowed.
  uses_ecr = var.images == null ? true : anytrue([for image in values(var.images) : strcontains(image, ".dkr.ecr.")])

  permissions = {
    proxy = {}
    worker = {
      ReadModels = {
        actions   = ["s3:GetObject"]
        resources = ["${aws_s3_bucket.models.arn}/${local.models_prefix}*"]
      }
    }
    scaler = merge(local.source_permissions, {
      SeeGroups = {
        actions = [
          "autoscaling:DescribeAutoScalingGroups",
          "autoscaling:DescribeInstanceRefreshes",
          "autoscaling:DescribeLifecycleHooks",
          "autoscaling:DescribeScalingActivities",
          "autoscaling:DescribeWarmPool",
        ]
        resources = ["*"]
      }
      ResizeThisGroup = {
        actions = [
          "autoscaling:CompleteLifecycleAction",
          "autoscaling:RecordLifecycleActionHeartbeat",
          "autoscaling:SetDesiredCapacity",
          "autoscaling:SetInstanceProtection",
          "autoscaling:TerminateInstanceInAutoScalingGroup",
        ]
        resources = [local.group_arn]
      }
      HoldTheLease = {
        actions   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        resources = [aws_dynamodb_table.lease.arn]
      }
      # Of one who reads and writes a table DynamoDB asks kms:Decrypt, on the caller's behalf, each
      # time it fetches the table's key anew (its own entries in CloudTrail say so, in "How Amazon
      # DynamoDB uses AWS KMS": https://docs.aws.amazon.com/kms/latest/developerguide/services-dynamodb.html).
      # The key policy there, and CDK's grants, name the others for writers; they are allowed as
      # well, and through DynamoDB alone.
      HoldTheLeaseEncrypted = {
        actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
        resources = [aws_kms_key.this.arn]
        condition = { variable = "kms:ViaService", value = "dynamodb.${local.region}.amazonaws.com" }
      }
      PublishMetrics = {
        actions   = ["cloudwatch:PutMetricData"]
        resources = ["*"]
        condition = { variable = "cloudwatch:namespace", value = local.namespace }
      }
    })
  }

  # What the policy's sources need.
  source_permissions = merge(
    length(var.sources.sqs_queue_arns) == 0 ? {} : {
      ReadQueues = {
        actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
        resources = var.sources.sqs_queue_arns
      }
    },
    !var.sources.cloudwatch ? {} : {
      ReadMetrics = {
        actions   = ["cloudwatch:GetMetricData"]
        resources = ["*"]
      }
    },
    length(var.sources.prometheus_workspace_arns) == 0 ? {} : {
      QueryPrometheus = {
        actions   = ["aps:QueryMetrics"]
        resources = var.sources.prometheus_workspace_arns
      }
    },
  )

  # What every role needs to start.
  startup = {
    for role in local.roles : role => merge(
      {
        ReadSecrets = {
          actions   = ["secretsmanager:GetSecretValue"]
          resources = [for name in local.secrets_of[role] : aws_secretsmanager_secret.this[name].arn]
        }
        Decrypt = {
          actions   = ["kms:Decrypt"]
          resources = [aws_kms_key.this.arn]
        }
        WriteLogs = {
          actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          resources = ["${aws_cloudwatch_log_group.role[role].arn}:*"]
        }
      },
      !local.uses_ecr ? {} : {
        EnterRegistry = {
          actions   = ["ecr:GetAuthorizationToken"]
          resources = ["*"]
        }
        PullImage = {
          actions   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
          resources = ["${local.arn}:ecr:*:*:repository/${regex("^[^/]+/([^:@]+)", local.images[role])[0]}"]
        }
      },
    )
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "role" {
  for_each = local.roles

  dynamic "statement" {
    for_each = merge(local.startup[each.key], local.permissions[each.key])
    content {
      sid       = statement.key
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = [for condition in [try(statement.value.condition, null)] : condition if condition != null]
        content {
          test     = "StringEquals"
          variable = condition.value.variable
          values   = [condition.value.value]
        }
      }
    }
  }
}

resource "aws_iam_role" "role" {
  for_each           = local.roles
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
  tags               = local.tags
}

resource "aws_iam_role_policy" "role" {
  for_each = local.roles
  name     = "tidegate"
  role     = aws_iam_role.role[each.key].id
  policy   = data.aws_iam_policy_document.role[each.key].json
}

resource "aws_iam_instance_profile" "role" {
  for_each = local.roles
  name     = "${var.name}-${each.key}"
  role     = aws_iam_role.role[each.key].name
  tags     = local.tags
}
