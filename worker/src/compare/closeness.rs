//! How close a model's results are to the reference's over the same inputs.

use std::fmt;

use serde::Serialize;

use crate::models::Spread;

/// What does not apply to a family is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Closeness {
    /// Of each vector to the reference's; for models made from the reference only, because the
    /// directions of different models mean different things.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<Spread>,
    /// Embeddings: Spearman's rank correlation of the similarities of all pairs of inputs.
    /// Rerankers: that of the scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spearman: Option<f64>,
    /// Embeddings: mean share of the reference's ten nearest inputs that are among the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<f64>,
    /// Classifiers: share of inputs with the same most likely label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Classifiers and rerankers: mean change of a probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability_change: Option<f64>,
    /// Sequence-to-sequence models: share of texts that are the reference's, letter by letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<f64>,
    /// Sequence-to-sequence models: chrF over all texts, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrf: Option<f64>,
    /// Decoders: perplexity of the inputs, by the reference and by the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_perplexity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The model's over the reference's: 1 is as good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity_ratio: Option<f64>,
    /// Decoders: divergence from the reference's probabilities over all places, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_divergence: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_divergence_p99: Option<f64>,
    /// Decoders: share of places with the same most likely token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_top: Option<f64>,
    /// Decoders: share of 32 greedy tokens before the first that differs, over some inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greedy_agreement: Option<f64>,
    /// Decoders: places that were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

impl fmt::Display for Closeness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(cosine) = self.cosine {
            let (mean, p1, min) = (cosine.mean, cosine.p1, cosine.min);
            parts.push(format!("cosine mean {mean:.5} p1 {p1:.5} min {min:.5}"));
        }
        let figures = [
            ("spearman", self.spearman),
            ("neighbours", self.neighbours),
            ("agreement", self.agreement),
            ("mean probability change", self.probability_change),
            ("exact match", self.exact_match),
            ("chrF", self.chrf),
            ("perplexity", self.perplexity),
            ("ratio to the reference's", self.perplexity_ratio),
            ("divergence", self.kl_divergence),
            ("divergence p99", self.kl_divergence_p99),
            ("same top", self.same_top),
            ("greedy agreement", self.greedy_agreement),
        ];
        for (name, value) in figures {
            if let Some(value) = value {
                parts.push(format!("{name} {value:.4}"));
            }
        }
        out.write_str(&parts.join(", "))
    }
}
