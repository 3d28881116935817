//! What a model has to meet, and what it misses.

use clap::Args;
use serde::Serialize;

use super::Closeness;
use crate::bench::Figures;

/// What a model has to meet.
#[derive(Clone, Debug, Default, PartialEq, Args, Serialize)]
pub struct Gates {
    /// Least cosine of any input's vector to the reference's.
    #[arg(long, value_name = "COSINE")]
    pub min_cosine: Option<f64>,
    /// Least rank correlation of similarities or scores.
    #[arg(long, value_name = "RHO")]
    pub min_spearman: Option<f64>,
    /// Least share of the ten nearest neighbours that stay.
    #[arg(long, value_name = "SHARE")]
    pub min_neighbours: Option<f64>,
    /// Least share of inputs that keep their label.
    #[arg(long, value_name = "SHARE")]
    pub min_agreement: Option<f64>,
    /// Least share of texts that are the reference's, letter by letter (T5).
    #[arg(long, value_name = "SHARE")]
    pub min_exact_match: Option<f64>,
    /// Least chrF of all texts to the reference's, 0 to 100 (T5).
    #[arg(long, value_name = "CHRF")]
    pub min_chrf: Option<f64>,
    /// Most perplexity over the reference's (decoders).
    #[arg(long, value_name = "RATIO")]
    pub max_perplexity_ratio: Option<f64>,
    /// Most divergence from the reference's probabilities, in nats, mean (decoders).
    #[arg(long, value_name = "NATS")]
    pub max_kl_divergence: Option<f64>,
    /// The same, 99th percentile (decoders).
    #[arg(long, value_name = "NATS")]
    pub max_kl_divergence_p99: Option<f64>,
    /// Least share of places with the reference's likeliest token (decoders).
    #[arg(long, value_name = "SHARE")]
    pub min_same_top: Option<f64>,
    /// Least share of greedy tokens before the first that is not the reference's (decoders).
    #[arg(long, value_name = "SHARE")]
    pub min_greedy_agreement: Option<f64>,
    /// Most milliseconds for one text, or one token of a decoder, 99th percentile.
    #[arg(long, value_name = "MS")]
    pub max_p99_ms: Option<f64>,
    /// Least tokens a second.
    #[arg(long, value_name = "RATE")]
    pub min_tokens_per_second: Option<f64>,
}

impl Gates {
    /// What a model misses, each with what was found and what was asked for.
    pub fn misses(&self, figures: &Figures, found: &Closeness) -> Vec<String> {
        let least = [
            (
                "cosine",
                found.cosine.map(|cosine| cosine.min),
                self.min_cosine,
            ),
            ("spearman", found.spearman, self.min_spearman),
            ("neighbours", found.neighbours, self.min_neighbours),
            ("agreement", found.agreement, self.min_agreement),
            ("exact match", found.exact_match, self.min_exact_match),
            ("chrF", found.chrf, self.min_chrf),
            ("same top", found.same_top, self.min_same_top),
            (
                "greedy agreement",
                found.greedy_agreement,
                self.min_greedy_agreement,
            ),
            (
                "tokens/s",
                Some(figures.speed.tokens_per_second()),
                self.min_tokens_per_second,
            ),
        ];
        let most = [
            (
                "perplexity ratio",
                found.perplexity_ratio,
                self.max_perplexity_ratio,
            ),
            ("divergence", found.kl_divergence, self.max_kl_divergence),
            (
                "divergence p99",
                found.kl_divergence_p99,
                self.max_kl_divergence_p99,
            ),
        ];
        let mut misses = Vec::new();
        for (name, found, floor) in least {
            match (found, floor) {
                (_, None) => {}
                (Some(found), Some(floor)) if found >= floor => {}
                (Some(found), Some(floor)) => misses.push(format!("{name} {found:.4} < {floor}")),
                (None, Some(floor)) => {
                    misses.push(format!(
                        "{name} does not apply, at least {floor} is asked for"
                    ));
                }
            }
        }
        for (name, found, limit) in most {
            match (found, limit) {
                (_, None) => {}
                (Some(found), Some(limit)) if found <= limit => {}
                (Some(found), Some(limit)) => misses.push(format!("{name} {found:.5} > {limit}")),
                (None, Some(limit)) => {
                    misses.push(format!(
                        "{name} does not apply, at most {limit} is asked for"
                    ));
                }
            }
        }
        if let Some(most) = self.max_p99_ms.filter(|most| figures.p99_ms > *most) {
            misses.push(format!("p99 {:.2} ms > {most} ms", figures.p99_ms));
        }
        misses
    }
}
