//! Decoders: how much less a model expects a text than the reference does, how far its probabilities are
//! from the reference's, and how long both generate the same.
//!
//! The figures are those of llama.cpp's perplexity tool: perplexity ratio, Kullback-Leibler
//! divergence of the reference's probabilities from the model's, share of places with the same
//! likeliest token. Both models are computed side by side, so that no logits are kept.

use std::path::Path;

use super::{Closeness, CompareError, Origin, Reference, SECONDS};
use crate::bench::{self, Figures};
use crate::measure::decoder::{EACH, Runner, failed};
use crate::measure::{Inputs, MeasureError};
use crate::models::{Package, Quality, decoder};

/// Built-in passages that are used, unless others are given.
pub const PASSAGES: usize = 256;

/// Inputs that both continue, and by how many tokens.
const PROMPTS: usize = 24;
const WRITTEN: usize = 32;

/// Sequences together, for the figures of speed.
const TOGETHER: usize = 8;

pub struct Decoder {
    inputs: Inputs,
    threads: usize,
    reference: Runner,
    figures: Figures,
    origin: Origin,
}

impl Decoder {
    pub fn open(path: &Path, inputs: Inputs, threads: usize) -> Result<Decoder, CompareError> {
        let opened = decoder::open(path)?;
        let origin = Origin {
            sha256: opened.origin_sha256()?,
            quantized: opened.package.is_some(),
        };
        let (reference, figures) = measured(path, &inputs, threads)?;
        Ok(Decoder {
            inputs,
            threads,
            reference,
            figures,
            origin,
        })
    }
}

impl Reference for Decoder {
    fn figures(&self) -> &Figures {
        &self.figures
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn judge(&mut self, path: &Path) -> Result<(Figures, Closeness), CompareError> {
        if !decoder::is_decoder(path) {
            return Err(CompareError::OtherTask {
                path: path.to_owned(),
                found: "model of another kind",
                expected: "decoder",
            });
        }
        let (mut model, figures) = measured(path, &self.inputs, self.threads)?;
        let closeness = closeness(&mut self.reference, (&mut model, path), &self.inputs)?;
        Ok((figures, closeness))
    }

    fn package(&self, path: &Path) -> Result<Package, CompareError> {
        let package = decoder::open(path)?.package;
        package.ok_or_else(|| CompareError::NotRecordable {
            path: path.to_owned(),
            why: "is no file that `quantize` wrote",
        })
    }

    fn store(&self, path: &Path, quality: Quality) -> Result<(), CompareError> {
        Ok(decoder::record(path, &quality)?)
    }
}

fn measured(
    path: &Path,
    inputs: &Inputs,
    threads: usize,
) -> Result<(Runner, Figures), CompareError> {
    let mut runner = Runner::open(path, TOGETHER, threads)?;
    let figures = bench::decoder::measure(&mut runner, path, inputs, TOGETHER, SECONDS)?;
    Ok((runner, figures))
}

fn closeness(
    reference: &mut Runner,
    (model, path): (&mut Runner, &Path),
    inputs: &Inputs,
) -> Result<Closeness, CompareError> {
    let texts = reference.tokens(inputs, EACH)?;
    if model.vocabulary() != reference.vocabulary() || model.tokens(inputs, EACH)? != texts {
        return Err(CompareError::OtherTask {
            path: path.to_owned(),
            found: "model with other tokens",
            expected: "model with the same",
        });
    }
    let mut sums = Sums::default();
    for text in &texts {
        places(reference, model, text, &mut sums)?;
    }
    let mut same = 0;
    let prompts = texts.iter().filter(|text| text.len() > 1).take(PROMPTS);
    let prompts: Vec<&[u32]> = prompts.map(|text| &text[..text.len() / 2]).collect();
    for prompt in &prompts {
        let (ours, theirs) = (greedy(reference, prompt)?, greedy(model, prompt)?);
        same += ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    }
    let greedy_agreement = same as f64 / (WRITTEN * prompts.len()).max(1) as f64;
    let closeness = sums.closeness(greedy_agreement);
    closeness.ok_or_else(|| {
        let problem = "the inputs have no text of two tokens".to_owned();
        failed(path, problem).into()
    })
}

/// Computes a text by both, some tokens at a time.
fn places(
    reference: &mut Runner,
    model: &mut Runner,
    text: &[u32],
    sums: &mut Sums,
) -> Result<(), MeasureError> {
    let mut theirs = reference.sequence(0, EACH);
    let mut ours = model.sequence(0, EACH);
    let (width, step) = (reference.vocabulary(), reference.step().min(model.step()));
    // Nothing follows the last.
    let read = &text[..text.len().saturating_sub(1)];
    for (at, part) in read.chunks(step).enumerate() {
        let expected = reference.all_logits(&mut theirs, part)?;
        let found = model.all_logits(&mut ours, part)?;
        let rows = expected.chunks_exact(width).zip(found.chunks_exact(width));
        let nexts = &text[at * step + 1..];
        for ((expected, found), &next) in rows.zip(nexts) {
            sums.add(expected, found, next);
        }
    }
    Ok(())
}

fn greedy(runner: &mut Runner, prompt: &[u32]) -> Result<Vec<u32>, MeasureError> {
    let mut sequence = [runner.sequence(0, EACH)];
    let first = runner.read(&mut sequence[0], prompt)?;
    let mut tokens = vec![tidegate_generation::likeliest(first)];
    while tokens.len() < WRITTEN {
        let last = tokens[tokens.len() - 1];
        tokens.extend(runner.next(&mut sequence, &[last])?);
    }
    Ok(tokens)
}

/// What is added up over places.
#[derive(Debug, Default)]
struct Sums {
    /// Of the negative logarithms of the next tokens' probabilities.
    reference: f64,
    model: f64,
    divergences: Vec<f64>,
    same_top: usize,
}

impl Sums {
    fn add(&mut self, expected: &[f32], found: &[f32], next: u32) {
        let (expected_sum, found_sum) = (log_sum(expected), log_sum(found));
        let next = next as usize;
        self.reference += expected_sum - f64::from(expected[next]);
        self.model += found_sum - f64::from(found[next]);
        let terms = expected.iter().zip(found).map(|(&expected, &found)| {
            let log = f64::from(expected) - expected_sum;
            log.exp() * (log - (f64::from(found) - found_sum))
        });
        // Rounding can make it negative by a little.
        self.divergences.push(terms.sum::<f64>().max(0.0));
        let likeliest = tidegate_generation::likeliest;
        self.same_top += usize::from(likeliest(expected) == likeliest(found));
    }

    fn closeness(mut self, greedy_agreement: f64) -> Option<Closeness> {
        self.divergences.sort_by(f64::total_cmp);
        let count = self.divergences.len();
        let p99 = *(self.divergences).get((count * 99 / 100).min(count.checked_sub(1)?))?;
        let mean = |sum: f64| sum / count as f64;
        let (reference, model) = (mean(self.reference).exp(), mean(self.model).exp());
        Some(Closeness {
            reference_perplexity: Some(reference),
            perplexity: Some(model),
            perplexity_ratio: Some(model / reference),
            kl_divergence: Some(mean(self.divergences.iter().sum())),
            kl_divergence_p99: Some(p99),
            same_top: Some(mean(self.same_top as f64)),
            greedy_agreement: Some(greedy_agreement),
            tokens: Some(count),
            ..Closeness::default()
        })
    }
}

/// The logarithm of the sum of the exponentials.
fn log_sum(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = (logits.iter())
        .map(|&logit| f64::from(logit - max).exp())
        .sum();
    f64::from(max) + sum.ln()
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::*;

    /// Probabilities 1/2, 1/4, 1/4 and 1/4, 1/2, 1/4.
    const ONE: [f32; 3] = [LN_2, 0.0, 0.0];
    const OTHER: [f32; 3] = [0.0, LN_2, 0.0];

    #[test]
    fn figures_are_those_computed_by_hand() {
        let mut sums = Sums::default();
        sums.add(&ONE, &OTHER, 0);
        sums.add(&ONE, &ONE, 1);
        let close = sums.closeness(0.5).expect("two places");
        let near = |found: Option<f64>, expected: f64| {
            assert!(
                found.is_some_and(|found| (found - expected).abs() < 1e-6),
                "{found:?}"
            );
        };
        // 1/2 ln 2 - 1/4 ln 2 at the first place, nothing at the second.
        let divergence = f64::from(LN_2) / 4.0;
        near(close.kl_divergence, divergence / 2.0);
        near(close.kl_divergence_p99, divergence);
        near(close.same_top, 0.5);
        // (1/2 * 1/4)^(-1/2) and (1/4 * 1/4)^(-1/2).
        near(close.reference_perplexity, 8f64.sqrt());
        near(close.perplexity, 4.0);
        near(close.perplexity_ratio, 2f64.sqrt());
        assert!(Sums::default().closeness(1.0).is_none());
    }
}
