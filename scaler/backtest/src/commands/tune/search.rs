//! Coordinate descent: one number at a time takes a step up or down, and the best step stays,
//! until no step helps. What may be stepped is in [`knobs`].

use std::path::Path;

use tidegate_config::ConfigError;
use tidegate_control::Policy;
use toml_edit::DocumentMut;

use super::knobs::{self, Knob};
use super::test_case::{self, TestCase};
use crate::commands::pool;
use tidegate_policy::PolicyFile;
use tidegate_process::Progress;

/// Rounds over all numbers.
const MOST_ROUNDS: usize = 6;

/// A step must help by this share, so that chance is not taken for progress.
const LEAST_GAIN: f64 = 0.002;

/// A policy on its way to a better one.
pub struct Candidate {
    pub document: DocumentMut,
    pub cost: f64,
}

pub struct Search<'a> {
    /// Names the policy in messages.
    pub file: &'a Path,
    pub test_cases: &'a [TestCase],
}

impl Search<'_> {
    /// The best policy that steps lead to, and how many were tried.
    pub fn best(&self, mut best: Candidate) -> (Candidate, usize) {
        let knobs = knobs::of(&best.document);
        let steps = MOST_ROUNDS * knobs.len() * knobs::STEPS.len();
        let progress = Progress::new(steps * self.test_cases.len(), pool::RUNS);
        let mut tried = 1;
        for _ in 0..MOST_ROUNDS {
            let before = best.cost;
            for knob in &knobs {
                tried += self.step(knob, &mut best, &progress);
            }
            if best.cost >= before {
                break;
            }
        }
        progress.clear();
        (best, tried)
    }

    /// Tries all steps of one number and keeps the best if it helps; how many were tried.
    fn step(&self, knob: &Knob, best: &mut Candidate, progress: &Progress) -> usize {
        let mut documents = Vec::new();
        let mut policies = Vec::new();
        for factor in knobs::STEPS {
            let mut document = best.document.clone();
            // What the policy's own checks refuse is no candidate.
            if knob.turn(&mut document, factor)
                && let Ok(policy) = parse(&document, self.file)
            {
                documents.push(document);
                policies.push(policy);
            }
        }
        let tried = policies.len();
        let found = test_case::costs(self.test_cases, &policies, progress);
        for (document, cost) in documents.into_iter().zip(found) {
            if cost < best.cost * (1.0 - LEAST_GAIN) {
                *best = Candidate { document, cost };
            }
        }
        tried
    }
}

pub fn parse(document: &DocumentMut, file: &Path) -> Result<Policy, ConfigError> {
    let file: PolicyFile = tidegate_config::parse(&document.to_string(), file)?;
    Ok(file.policy())
}
