//! Penalties for tokens that a sequence holds already.

use std::collections::HashMap;

use super::Sampling;

/// How often tokens stand in the answer; prompt tokens are there with zero.
#[derive(Clone, Debug)]
pub struct Counts(HashMap<u32, u32>);

impl Counts {
    pub fn new(prompt: &[u32]) -> Counts {
        Counts(prompt.iter().map(|&token| (token, 0)).collect())
    }

    pub fn answered(&mut self, token: u32) {
        *self.0.entry(token).or_insert(0) += 1;
    }

    pub fn apply(&self, sampling: &Sampling, logits: &mut [f32]) {
        for (&token, &times) in &self.0 {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            *logit = match *logit > 0.0 {
                true => *logit / sampling.repetition_penalty,
                false => *logit * sampling.repetition_penalty,
            };
            if times > 0 {
                *logit -= sampling.presence_penalty + sampling.frequency_penalty * times as f32;
            }
        }
    }
}
