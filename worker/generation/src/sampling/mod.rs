//! Which token comes next: from a row of logits, by what a request asks for.
//!
//! The order is that of vLLM and llama.cpp: bias, penalties, then temperature, then the largest
//! `top_k`, then `top_p`, then `min_p`. Sampling depends on the sequence alone: its tokens, its
//! seed, how many numbers it has drawn.

mod nucleus;
mod penalties;
mod random;

use std::collections::BTreeMap;

pub use penalties::Counts;
pub use random::{Random, choice_seed};

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0: always the likeliest token.
    pub temperature: f32,
    /// Among the likeliest so many; 0 for all.
    pub top_k: usize,
    /// Among the likeliest that together have this probability.
    pub top_p: f32,
    /// Among those at least this share as likely as the likeliest.
    pub min_p: f32,
    /// Divides (or multiplies, below zero) the logits of tokens that stand in prompt or answer.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that stand in the answer.
    pub presence_penalty: f32,
    /// The same, as often as each stands there.
    pub frequency_penalty: f32,
    /// Added to the logits of tokens.
    pub bias: BTreeMap<u32, f32>,
    pub seed: u64,
}

impl Default for Sampling {
    /// OpenAI's defaults.
    fn default() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}

/// Chooses the tokens of one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    counts: Option<Counts>,
    random: Random,
}

impl Sampler {
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Sampler {
        Sampler {
            counts: sampling.penalizes().then(|| Counts::new(prompt)),
            random: Random::new(sampling.seed),
            sampling,
        }
    }

    /// Chooses from a row of logits, which it changes. Tokens at minus infinity are never chosen,
    /// unless all are there; a logit that is no number counts as minus infinity.
    pub fn choose(&mut self, logits: &mut [f32]) -> u32 {
        let sampling = &self.sampling;
        for (&token, bias) in &sampling.bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        if let Some(counts) = &self.counts {
            counts.apply(sampling, logits);
        }
        let token = match sampling.temperature > 0.0 {
            true => nucleus::draw(sampling, logits, &mut self.random),
            false => likeliest(logits),
        };
        if let Some(counts) = &mut self.counts {
            counts.answered(token);
        }
        token
    }
}

/// The token of the largest logit; of equals the first.
pub fn likeliest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0 as u32
}

/// The natural logarithm of each token's probability is its logit less this.
pub fn log_sum(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = (logits.iter())
        .map(|&logit| f64::from((logit - max).exp()))
        .sum();
    max + sum.ln() as f32
}

/// The likeliest tokens and their logits, the first first.
pub fn top(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    nucleus::largest(logits, count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::f32::consts::LN_2;

    use super::*;

    fn chosen(sampling: Sampling, logits: &[f32], times: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling, &[]);
        (0..times)
            .map(|_| sampler.choose(&mut logits.to_vec()))
            .collect()
    }

    fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        const TIMES: usize = 20_000;
        let mut shares = vec![0.0; logits.len()];
        for token in chosen(sampling, logits, TIMES) {
            shares[token as usize] += 1.0 / TIMES as f64;
        }
        shares
    }

    fn close(found: &[f64], expected: &[f64]) {
        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        assert!(
            apart.fold(0.0, f64::max) < 0.015,
            "{found:?}, expected {expected:?}"
        );
    }

    /// Probabilities 0.5, 0.25, 0.125, 0.125.
    const HALVES: [f32; 4] = [3.0 * LN_2, 2.0 * LN_2, LN_2, LN_2];

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let greedy = Sampling {
            temperature: 0.0,
            ..Sampling::default()
        };
        assert_eq!(chosen(greedy, &[1.0, 3.0, 3.0, f32::NAN], 2), [1, 1]);
    }

    #[test]
    fn shares_are_the_probabilities() {
        close(
            &shares(Sampling::default(), &HALVES),
            &[0.5, 0.25, 0.125, 0.125],
        );
        let hot = Sampling {
            temperature: 0.5,
            ..Sampling::default()
        };
        let squares = [0.25, 0.0625, 0.015625, 0.015625].map(|p| p / 0.34375);
        close(&shares(hot, &HALVES), &squares);
    }

    #[test]
    fn each_cut_keeps_what_it_says() {
        let two = [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0];
        let top_k = Sampling {
            top_k: 2,
            ..Sampling::default()
        };
        close(&shares(top_k, &HALVES), &two);
        let top_p = Sampling {
            top_p: 0.6,
            ..Sampling::default()
        };
        close(&shares(top_p, &HALVES), &two);
        let min_p = Sampling {
            min_p: 0.4,
            ..Sampling::default()
        };
        close(&shares(min_p, &HALVES), &two);
        let one = Sampling {
            top_p: 0.0,
            ..Sampling::default()
        };
        close(&shares(one, &HALVES), &[1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn penalties_and_bias_change_the_choice() {
        let greedy = Sampling {
            temperature: 0.0,
            ..Sampling::default()
        };
        let presence = Sampling {
            presence_penalty: 1.0,
            ..greedy.clone()
        };
        assert_eq!(chosen(presence, &[1.0, 0.5, 0.3], 3), [0, 1, 2]);
        let frequency = Sampling {
            frequency_penalty: 0.3,
            ..greedy.clone()
        };
        assert_eq!(chosen(frequency, &[1.0, 0.5, 0.1], 4), [0, 0, 1, 0]);
        let bias = Sampling {
            bias: [(2, 5.0)].into(),
            ..greedy.clone()
        };
        assert_eq!(chosen(bias, &[1.0, 0.5, 0.3], 1), [2]);
        let repetition = Sampling {
            repetition_penalty: 3.0,
            ..greedy
        };
        let mut sampler = Sampler::new(repetition, &[0]);
        assert_eq!(sampler.choose(&mut [1.0, 0.5, -0.2]), 1);
    }

    #[test]
    fn a_seed_gives_the_same_tokens_again() {
        let seeded = |seed| Sampling {
            seed,
            ..Sampling::default()
        };
        assert_eq!(
            chosen(seeded(7), &HALVES, 50),
            chosen(seeded(7), &HALVES, 50)
        );
        assert_ne!(
            chosen(seeded(7), &HALVES, 50),
            chosen(seeded(8), &HALVES, 50)
        );
    }

    #[test]
    fn forbidden_tokens_are_never_drawn() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NAN, f32::NEG_INFINITY];
        assert!(
            chosen(Sampling::default(), &logits, 100)
                .iter()
                .all(|&token| token == 1)
        );
    }

    #[test]
    fn probabilities_add_up() {
        let total: f32 = HALVES
            .iter()
            .map(|logit| (logit - log_sum(&HALVES)).exp())
            .sum();
        assert!((total - 1.0).abs() < 1e-5);
        assert_eq!(
            top(&HALVES, 2)
                .iter()
                .map(|&(token, _)| token)
                .collect::<Vec<_>>(),
            [0, 1]
        );
    }
}
