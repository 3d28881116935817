//! Decoders: how much less a model expects a text than the reference does, how far its probabilities are
//! from the reference's, and how long both generate the same.
//!
//! The figures are those of llama.cpp's perplexity tool: perplexity ratio, Kullback-Leibler
//! divergence of the reference's probabilities from the model's, share of places with the same
//! likeliest token. Both models are computed side by side, so that no logits are kept.

use std::path::Path;

use serde::Serialize;

use super::{CompareArgs, CompareError, Found, Gates};
use crate::bench::decoder::{self as bench, Figures};
use crate::measure::decoder::{EACH, Runner, failed};
use crate::measure::{Inputs, MeasureError};
use crate::models::{Quality, decoder};
use crate::threads;

/// Built-in passages that are used, unless others are given.
const PASSAGES: usize = 256;

/// Inputs that both continue, and by how many tokens.
const PROMPTS: usize = 24;
const WRITTEN: usize = 32;

/// Sequences together, for the figures of speed.
const TOGETHER: usize = 8;

/// How close a model is to the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Closeness {
    /// Perplexity of the inputs, by the reference and by the model.
    pub reference_perplexity: f64,
    pub perplexity: f64,
    /// The one over the other: 1 is as good.
    pub perplexity_ratio: f64,
    /// Over all places, in nats.
    pub kl_divergence: f64,
    pub kl_divergence_p99: f64,
    /// Share of places with the same likeliest token.
    pub same_top: f64,
    /// Share of 32 greedy tokens before the first that differs, over some inputs.
    pub greedy_agreement: f64,
    /// Places that were looked at.
    pub tokens: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub figures: Figures,
    pub closeness: Closeness,
    /// What it misses of the gates; empty if it meets all.
    pub misses: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub reference: Figures,
    pub models: Vec<Row>,
    pub inputs: usize,
    pub inputs_sha256: String,
    pub gates: Gates,
    /// The smallest model that meets the gates.
    pub chosen: Option<String>,
}

pub fn run(args: &CompareArgs) -> Result<Comparison, CompareError> {
    let mut inputs = Inputs::read(args.inputs.as_deref())?;
    if args.inputs.is_none() {
        inputs = inputs.first(PASSAGES);
    }
    let threads = threads::count(args.threads);
    let progress = super::progress(args);
    progress.begin(&args.reference.display().to_string());
    let mut reference = Runner::open(&args.reference, TOGETHER, threads)?;
    let speed = |runner: &mut Runner, path: &Path| {
        bench::measure(runner, path, &inputs, TOGETHER, super::SECONDS)
    };
    let figures = speed(&mut reference, &args.reference)?;
    let mut models = Vec::new();
    for path in &args.models {
        if !decoder::is_decoder(path) {
            return Err(CompareError::OtherTask {
                path: path.clone(),
                found: "model of another kind",
                expected: "decoder",
            });
        }
        progress.next(&path.display().to_string());
        let mut model = Runner::open(path, TOGETHER, threads)?;
        let figures = speed(&mut model, path)?;
        let closeness = closeness(&mut reference, (&mut model, path), &inputs)?;
        if args.record {
            record(path, &args.reference, &inputs, &closeness)?;
        }
        models.push(Row {
            misses: args.gates.misses(&found(&figures, &closeness)),
            figures,
            closeness,
        });
    }
    let fit = models.iter().filter(|row| row.misses.is_empty());
    let chosen = fit.min_by_key(|row| (row.figures.weights_bytes, row.figures.model_bytes));
    Ok(Comparison {
        chosen: chosen.map(|row| row.figures.model.clone()),
        reference: figures,
        models,
        inputs: inputs.items.len(),
        inputs_sha256: inputs.sha256,
        gates: args.gates.clone(),
    })
}

fn found(figures: &Figures, close: &Closeness) -> Found {
    Found {
        perplexity_ratio: Some(close.perplexity_ratio),
        kl_divergence: Some(close.kl_divergence),
        kl_divergence_p99: Some(close.kl_divergence_p99),
        same_top: Some(close.same_top),
        greedy_agreement: Some(close.greedy_agreement),
        tokens_per_second: figures.decode_tokens_per_second,
        p99_ms: figures.p99_ms,
        ..Found::default()
    }
}

/// Keeps what was measured in the model file, for `serve` to hold against its limits.
fn record(
    path: &Path,
    reference: &Path,
    inputs: &Inputs,
    closeness: &Closeness,
) -> Result<(), CompareError> {
    let refused = |why| CompareError::NotRecordable {
        path: path.to_owned(),
        why,
    };
    let Some(package) = decoder::open(path)?.package else {
        return Err(refused("is no file that `quantize` wrote"));
    };
    let reference = decoder::open(reference)?;
    let reference_sha256 = reference.origin_sha256()?;
    let is_source = reference.package.is_none();
    if !is_source || package.provenance.source_sha256 != reference_sha256 {
        return Err(refused("was not made from the reference"));
    }
    let quality = Quality {
        model_sha256: package.sha256,
        reference_sha256,
        inputs_sha256: inputs.sha256.clone(),
        inputs: inputs.items.len(),
        perplexity_ratio: Some(closeness.perplexity_ratio),
        kl_divergence: Some(closeness.kl_divergence),
        same_top: Some(closeness.same_top),
        greedy_agreement: Some(closeness.greedy_agreement),
        ..Quality::default()
    };
    Ok(decoder::record(path, &quality)?)
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
            reference_perplexity: reference,
            perplexity: model,
            perplexity_ratio: model / reference,
            kl_divergence: mean(self.divergences.iter().sum()),
            kl_divergence_p99: p99,
            same_top: mean(self.same_top as f64),
            greedy_agreement,
            tokens: count,
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

impl std::fmt::Display for Comparison {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "reference: {}", self.reference)?;
        for row in &self.models {
            let close = &row.closeness;
            writeln!(out, "\n{}", row.figures)?;
            writeln!(
                out,
                "perplexity   {:.4}, the reference's {:.4}: ratio {:.5}, over {} tokens of {} inputs",
                close.perplexity,
                close.reference_perplexity,
                close.perplexity_ratio,
                close.tokens,
                self.inputs
            )?;
            writeln!(
                out,
                "divergence   mean {:.5} nats, p99 {:.5}",
                close.kl_divergence, close.kl_divergence_p99
            )?;
            writeln!(
                out,
                "agreement    {:.2} % the same most likely token; {:.1} % of {WRITTEN} greedy tokens before the first that differs",
                100.0 * close.same_top,
                100.0 * close.greedy_agreement
            )?;
            if !row.misses.is_empty() {
                writeln!(out, "misses       {}", row.misses.join("; "))?;
            }
        }
        match &self.chosen {
            Some(chosen) => write!(out, "\nthe smallest that meets the options: {chosen}"),
            None => write!(out, "\nnone meets the options"),
        }
    }
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
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}");
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
