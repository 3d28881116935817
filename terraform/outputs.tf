output "url" {
  description = "The URL for clients."
  value       = "${var.certificate_arn == null ? "http" : "https"}://${aws_lb.this.dns_name}"
}

output "load_balancer" {
  description = "Name and zone of the load balancer, for a DNS record of your own (which a certificate needs)."
  value       = { dns_name = aws_lb.this.dns_name, zone_id = aws_lb.this.zone_id }
}

output "policy_lines" {
  description = "The tables of the scaler's policy with addresses and names, to paste below a policy of your own."
  value       = local.policy_lines
}

output "policy" {
  description = "The whole policy of the scalers; `tidegate-scaler check` accepts it."
  value       = local.policy
}

output "group" {
  description = "Name of the worker group."
  value       = aws_autoscaling_group.workers.name
}

output "model_upload" {
  description = "The place for the model file."
  value       = "s3://${aws_s3_bucket.models.bucket}/${var.model.key}"
}

output "repositories" {
  description = "The repositories for the images; empty with images of your own."
  value       = { for role, repository in aws_ecr_repository.this : role => repository.repository_url }
}

output "alarms_topic" {
  description = "The topic of the alarms, for more subscribers."
  value       = aws_sns_topic.alarms.arn
}

output "roles" {
  description = "The roles of proxies, scalers and workers, to attach more policies."
  value       = { for role in local.roles : role => aws_iam_role.role[role].arn }
}
