# Tokens and hashes of keys: written once, by write-only arguments, and read by role at each boot.

locals {
  secrets_of = {
    proxy  = concat(["worker.token", "operator.token"], local.has_keys ? ["api-keys"] : [])
    scaler = ["operator.token"]
    worker = ["worker.token"]
  }
  has_keys = var.api_keys_file != null
  secrets  = toset(flatten(values(local.secrets_of)))
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:Tokens are changed without an outage by two lines in one file (docs/operating.md), not by a function.
  for_each    = local.secrets
  name        = "${var.name}/${each.key}"
  description = "Tidegate ${var.name}: ${each.key}"
  kms_key_id  = aws_kms_key.this.arn
  tags        = local.tags
}

resource "aws_secretsmanager_secret_version" "this" {
  for_each  = local.secrets
  secret_id = aws_secretsmanager_secret.this[each.key].id
  secret_string_wo = (
    each.key == "worker.token" ? var.worker_token :
    each.key == "operator.token" ? var.operator_token :
    file(var.api_keys_file)
  )
  secret_string_wo_version = var.secrets_version
}
