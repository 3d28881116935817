//! Sequence-to-sequence models: how many of their texts are those of the reference, and how
//! close the others are (chrF, Popović 2015).

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use super::{CompareArgs, CompareError, Found, Measured, record};
use crate::bench::seq2seq::{Bench, Figures, Length};
use crate::measure::Inputs;
use crate::models::{seq2seq, sha256};
use crate::threads;

/// Letters of the longest sequence that is counted.
const ORDER: usize = 6;

/// How much more a letter that is missed weighs than one too many: its square.
const BETA: f64 = 2.0;

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub figures: Figures,
    /// Share of texts that are the reference's, letter by letter.
    pub exact_match: f64,
    /// Over all texts, 0 to 100.
    pub chrf: f64,
    /// What it misses of the gates; empty if it meets all.
    pub misses: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub reference: Figures,
    pub models: Vec<Row>,
    pub inputs: usize,
    pub inputs_sha256: String,
    /// The smallest model that meets the gates.
    pub chosen: Option<String>,
}

/// What a model made of the inputs, and what it is.
struct Judged {
    figures: Figures,
    texts: Vec<String>,
    /// Of its weights; of a model file, of what it was made from.
    origin_sha256: String,
}

pub fn run(args: &CompareArgs) -> Result<Comparison, CompareError> {
    let inputs = Inputs::read(args.inputs.as_deref())?;
    let threads = threads::count(args.threads);
    let progress = super::progress(args);
    progress.begin(&args.reference.display().to_string());
    let reference = judge(&args.reference, &inputs, threads)?;
    let mut models = Vec::new();
    for path in &args.models {
        if !seq2seq::is_seq2seq(path) {
            return Err(CompareError::OtherTask {
                path: path.clone(),
                found: "model for something else",
                expected: "seq2seq",
            });
        }
        progress.next(&path.display().to_string());
        let row = compare(&reference, judge(path, &inputs, threads)?, args);
        if args.record {
            let measured = Measured {
                exact_match: Some(row.exact_match),
                chrf: Some(row.chrf),
                ..Measured::default()
            };
            record(path, &reference.origin_sha256, &inputs, measured)?;
        }
        models.push(row);
    }
    let fit = models.iter().filter(|row| row.misses.is_empty());
    let chosen = fit.min_by_key(|row| (row.figures.weights_bytes, row.figures.model_bytes));
    Ok(Comparison {
        chosen: chosen.map(|row| row.figures.model.clone()),
        reference: reference.figures,
        models,
        inputs: inputs.items.len(),
        inputs_sha256: inputs.sha256,
    })
}

fn judge(path: &Path, inputs: &Inputs, threads: usize) -> Result<Judged, CompareError> {
    let opened = seq2seq::open(path)?;
    let origin_sha256 = match &opened.package {
        Some(package) => package.provenance.source_sha256.clone(),
        None => sha256(&opened.weights)?,
    };
    let mut bench = Bench::new(path, opened, threads)?;
    let texts = bench.texts(inputs)?;
    bench.measure(inputs, Length::Natural, super::SECONDS)?;
    Ok(Judged {
        figures: bench.figures().clone(),
        texts,
        origin_sha256,
    })
}

fn compare(reference: &Judged, judged: Judged, args: &CompareArgs) -> Row {
    let Judged { figures, texts, .. } = judged;
    let pairs = || reference.texts.iter().zip(&texts);
    let same = pairs().filter(|(one, other)| one == other).count();
    let exact_match = same as f64 / texts.len() as f64;
    let chrf = chrf(pairs().map(|(one, other)| (one.as_str(), other.as_str())));
    let found = Found {
        exact_match: Some(exact_match),
        chrf: Some(chrf),
        tokens_per_second: figures.batched_decode_tokens_per_second,
        p99_ms: figures.p99_ms,
        ..Found::default()
    };
    Row {
        exact_match,
        chrf,
        misses: args.gates.misses(&found),
        figures,
    }
}

/// The F-score of sequences of letters, spaces left out, over all pairs of a text that is expected
/// and one that was found: precision and recall are means over the lengths of the sequences.
fn chrf<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> f64 {
    let mut totals = [(0usize, 0usize, 0usize); ORDER];
    for (expected, found) in pairs {
        for (order, (common, of_expected, of_found)) in totals.iter_mut().enumerate() {
            let (expected, found) = (sequences(expected, order + 1), sequences(found, order + 1));
            *of_expected += expected.values().sum::<usize>();
            *of_found += found.values().sum::<usize>();
            *common += found
                .iter()
                .map(|(letters, count)| expected.get(letters).map_or(0, |other| *count.min(other)))
                .sum::<usize>();
        }
    }
    let counted = totals
        .iter()
        .filter(|(_, expected, found)| *expected > 0 && *found > 0);
    let shares = counted.map(|&(common, expected, found)| {
        (
            common as f64 / found as f64,
            common as f64 / expected as f64,
        )
    });
    let shares: Vec<(f64, f64)> = shares.collect();
    if shares.is_empty() {
        return 100.0;
    }
    let mean =
        |part: fn(&(f64, f64)) -> f64| shares.iter().map(part).sum::<f64>() / shares.len() as f64;
    let (precision, recall) = (mean(|share| share.0), mean(|share| share.1));
    let weighed = BETA * BETA * precision + recall;
    match weighed > 0.0 {
        true => 100.0 * (1.0 + BETA * BETA) * precision * recall / weighed,
        false => 0.0,
    }
}

/// How often each sequence of so many letters is in a text.
fn sequences(text: &str, order: usize) -> HashMap<Vec<char>, usize> {
    let letters: Vec<char> = text
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let mut counts = HashMap::new();
    for sequence in letters.windows(order) {
        *counts.entry(sequence.to_vec()).or_insert(0) += 1;
    }
    counts
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "reference: {}", self.reference)?;
        for row in &self.models {
            writeln!(out, "\n{}", row.figures)?;
            writeln!(
                out,
                "texts        {:.2} % are the reference's, chrF {:.2}, over {} inputs",
                100.0 * row.exact_match,
                row.chrf,
                self.inputs
            )?;
            if !row.misses.is_empty() {
                writeln!(out, "misses       {}", row.misses.join("; "))?;
            }
        }
        match &self.chosen {
            Some(chosen) => write!(out, "\nthe smallest that meets what is asked for: {chosen}"),
            None => write!(out, "\nnone meets what is asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reckoned by hand.
    #[test]
    fn texts_are_as_close_as_their_sequences_of_letters() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.01, "{found}");
        near(chrf([("the cat sat", "the cat sat")].into_iter()), 100.0);
        near(chrf([("abc", "xyz")].into_iter()), 0.0);
        // One letter of "abcd" is another: 3/4 of single letters, 2/3, 1/2 and 0 of longer ones.
        near(
            chrf([("abcd", "abcx")].into_iter()),
            100.0 * (0.75 + 2.0 / 3.0 + 0.5) / 4.0,
        );
    }
}
