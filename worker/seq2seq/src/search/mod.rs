//! What comes next.

mod beams;

pub(crate) use beams::{Beams, Rules};

/// How a text is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Search {
    /// The likeliest token at each place.
    Greedy,
    /// The likeliest of several hypotheses, by the sum of their tokens' log-probabilities over their
    /// length to the power of `length_penalty`.
    Beams {
        width: usize,
        length_penalty: f32,
        patience: Patience,
    },
}

/// When a search over several hypotheses ends, once it has as many whole texts as beams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// At once.
    Early,
    /// When the best hypothesis, were it whole at its present length, is no better than the worst
    /// whole text.
    #[default]
    Usual,
    /// When it could not become better at any length.
    Never,
}

impl Search {
    /// Hypotheses at once.
    pub fn width(self) -> usize {
        match self {
            Self::Greedy => 1,
            Self::Beams { width, .. } => width.max(1),
        }
    }
}

/// The place of the largest value, the first of several; `except` places do not count.
pub(crate) fn likeliest(logits: &[f32], except: &[u32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > best.0 && !except.contains(&(token as u32)) {
            best = (logit, token as u32);
        }
    }
    best.1
}

/// The logarithm of the sum of e to the power of each value.
pub(crate) fn log_sum(row: &[f32]) -> f32 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
    largest + sum.ln() as f32
}
