# Which alarms are sent, by the metrics that the scaler publishes (docs/metrics.md).

locals {
  namespace  = "Tidegate"
  dimensions = { Fleet = var.name }

  # Each: of which metric, over how many minutes, compared with what.
  alarms = {
    oldest-wait = {
      about     = "A request waits in the queue for longer than clients bear."
      metric    = "OldestWait", statistic = "Maximum", minutes = 3
      threshold = var.slo.oldest_wait_ms / 1000
    }
    p95-over-slo = {
      about     = "One request in twenty takes longer than was promised."
      metric    = "Latency", statistic = "p95", minutes = 5
      threshold = var.slo.latency_ms
    }
    at-maximum = {
      about     = "The fleet is as large as it may be, and more is asked for."
      metric    = "AtMaximum", statistic = "Average", minutes = 10
      threshold = 0.5
    }
    capacity-unavailable = {
      about     = "Launches keep failing: the zones have no instances of these types, or workers do not start."
      metric    = "LaunchesHeld", statistic = "Average", minutes = 3
      threshold = 0.5
    }
    proxy-missing = {
      about     = "A proxy does not answer the scaler, which will not shrink the fleet meanwhile."
      metric    = "ProxiesMissing", statistic = "Minimum", minutes = 3
      threshold = 0
    }
    scaler-silent = {
      about      = "No scaler decides: it is one tick a second, and fewer than half of them were seen."
      metric     = "Heartbeat", statistic = "SampleCount", minutes = 3
      threshold  = 30
      comparison = "LessThanThreshold"
      missing    = "breaching"
    }
    cost-over-budget = {
      about     = "An hour of the fleet costs more than its budget."
      metric    = "CostPerHour", statistic = "Average", minutes = 15
      threshold = var.cost.budget_per_hour
    }
  }

  failures = { failed = "m1", shed = "m2", expired = "m3" }
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.this.arn
  tags              = local.tags
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.alarm_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "fleet" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.about
  namespace           = local.namespace
  dimensions          = local.dimensions
  metric_name         = each.value.metric
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  period              = 60
  evaluation_periods  = each.value.minutes
  datapoints_to_alarm = each.value.minutes
  threshold           = each.value.threshold
  comparison_operator = try(each.value.comparison, "GreaterThanThreshold")
  treat_missing_data  = try(each.value.missing, "missing")
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}

# Failed, shed and expired requests, as a share of the arrivals.
resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-error-share"
  alarm_description   = "More than ${var.slo.error_percent} % of the requests fail, are refused or expire in the queue."
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  threshold           = var.slo.error_percent
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags

  metric_query {
    id          = "share"
    label       = "errors, % of arrivals"
    expression  = "IF(arrivals > 0, 100 * (${join(" + ", [for id in values(local.failures) : "FILL(${id}, 0)"])}) / arrivals, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.failures
    content {
      id = metric_query.value
      metric {
        namespace   = local.namespace
        metric_name = "Requests"
        dimensions  = merge(local.dimensions, { Outcome = metric_query.key })
        period      = 60
        stat        = "Sum"
      }
    }
  }

  metric_query {
    id = "arrivals"
    metric {
      namespace   = local.namespace
      metric_name = "Arrivals"
      dimensions  = local.dimensions
      period      = 60
      stat        = "Sum"
    }
  }
}
