//! The quality that a quantized model must have to be served.

use serde::Deserialize;
use tidegate_config::{Check, Problem};

/// Floors under what `compare --record` found of a quantized model.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QualityConfig {
    /// Least cosine of any input's vector to the reference's, for embedding models.
    pub min_cosine: Option<f64>,
    /// Least rank correlation of similarities or scores, for embedding models and rerankers.
    pub min_spearman: Option<f64>,
    /// Least share of inputs that keep their label, for classifiers.
    pub min_agreement: Option<f64>,
    /// Least share of texts that are the reference's, for sequence-to-sequence models.
    pub min_exact_match: Option<f64>,
    /// Least chrF of all texts to the reference's, 0 to 100, for the same.
    pub min_chrf: Option<f64>,
    /// Least share of places with the reference's most likely token, for decoders.
    pub min_same_top: Option<f64>,
    /// Most divergence from the reference's probabilities, in nats, mean, for the same.
    pub max_kl_divergence: Option<f64>,
    /// Most perplexity over the reference's, for the same.
    pub max_perplexity_ratio: Option<f64>,
}

impl Check for QualityConfig {
    fn check(&self) -> Result<(), Problem> {
        let floors = [
            ("min_cosine", self.min_cosine),
            ("min_spearman", self.min_spearman),
            ("min_agreement", self.min_agreement),
            ("min_exact_match", self.min_exact_match),
            ("min_same_top", self.min_same_top),
        ];
        for (key, floor) in floors {
            if let Some(floor) = floor.filter(|floor| !(0.0..=1.0).contains(floor)) {
                return Err(Problem::new(key, floor, "0 to 1"));
            }
        }
        for (key, limit) in [
            ("max_kl_divergence", self.max_kl_divergence),
            ("max_perplexity_ratio", self.max_perplexity_ratio),
        ] {
            if let Some(limit) = limit.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
                return Err(Problem::new(key, limit, "more than 0"));
            }
        }
        match self.min_chrf.filter(|chrf| !(0.0..=100.0).contains(chrf)) {
            Some(chrf) => Err(Problem::new("min_chrf", chrf, "0 to 100")),
            None => Ok(()),
        }
    }
}
