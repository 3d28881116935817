output "url" {
  description = "Where clients ask, once a DNS record of yours leads to it."
  value       = module.tidegate.url
}

output "model_upload" {
  description = "Where the model file is to be put."
  value       = module.tidegate.model_upload
}

output "repositories" {
  description = "Where images are to be pushed."
  value       = module.tidegate.repositories
}

output "policy" {
  description = "What the scalers go by."
  value       = module.tidegate.policy
}
