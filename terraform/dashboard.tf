# Logs, and one page that shows the fleet as the scaler sees it.

resource "aws_cloudwatch_log_group" "role" {
  #checkov:skip=CKV_AWS_338:How long logs are kept is var.log_days; a year of them is the reader's choice to pay for.
  for_each          = local.roles
  name              = "/tidegate/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = aws_kms_key.this.arn
  tags              = local.tags
}

locals {
  # Title, and of each line: metric, statistic, and a dimension beside the fleet's.
  panels = [
    { title = "Latency, ms", lines = [["Latency", "p50"], ["Latency", "p95"], ["Latency", "p99"]] },
    { title = "In the queue, and at work", lines = [["QueueLength", "Maximum"], ["InFlight", "Average"]] },
    { title = "Oldest wait, s", lines = [["OldestWait", "Maximum"]] },
    { title = "Workers", lines = concat(
      [for state in ["booting", "serving", "draining"] : ["Workers", "Average", "State", state]],
      [["DesiredWorkers", "Average"], ["NeededWorkers", "Average"]],
    ) },
    { title = "Requests a minute, by outcome", lines = [
      for outcome in ["answered", "failed", "shed", "expired", "aborted"] : ["Requests", "Sum", "Outcome", outcome]
    ] },
    { title = "Cost an hour", lines = [["CostPerHour", "Average"]] },
    { title = "Held back", lines = [["AtMaximum", "Average"], ["AtBudget", "Average"], ["LaunchesHeld", "Average"]] },
    { title = "Scaler: ticks a minute, proxies missing", lines = [["Heartbeat", "SampleCount"], ["ProxiesMissing", "Maximum"]] },
  ]
}

resource "aws_cloudwatch_dashboard" "fleet" {
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for index, panel in local.panels : {
      type   = "metric"
      x      = 12 * (index % 2)
      y      = 6 * floor(index / 2)
      width  = 12
      height = 6
      properties = {
        title  = panel.title
        region = local.region
        period = 60
        view   = "timeSeries"
        metrics = [for line in panel.lines : concat(
          [local.namespace, line[0], "Fleet", var.name],
          slice(line, 2, length(line)),
          [{ stat = line[1], label = length(line) > 2 ? line[3] : "${line[0]} ${line[1]}" }],
        )]
      }
    }]
  })
}
