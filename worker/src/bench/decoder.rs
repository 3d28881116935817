//! Decoders: how fast a prompt is read, and how fast one text is generated, and several together.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{BenchArgs, BenchError, Figures};
use crate::measure::decoder::{EACH, Runner, Sequence};
use crate::measure::{Inputs, MeasureError, p50_and_p99_ms};

/// Tokens of the prompt that is read.
const PROMPT: usize = 512;

/// Tokens of the prompts before generated texts: the shortest, and how much longer each next one is.
const SHORT: usize = 32;
const LONGER: usize = 3;

/// Tokens that are generated after each of them.
const WRITTEN: usize = 64;

/// The most sequences together.
pub const MOST_SEQUENCES: usize = 64;

/// Throughput is from token ids: reading texts into them is not in it, nor is loading.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Tokens of a prompt that is read.
    pub prefill_tokens: usize,
    pub prefill_tokens_per_second: f64,
    /// One sequence.
    pub decode_tokens_per_second: f64,
    /// So many of unequal length together.
    pub sequences: usize,
    pub batched_decode_tokens_per_second: f64,
}

/// The figures, and the milliseconds from opening the files to the first result.
pub fn run(
    args: &BenchArgs,
    inputs: &Inputs,
    threads: usize,
) -> Result<(Figures, f64), BenchError> {
    let asked = args.sequences;
    if !(1..=MOST_SEQUENCES).contains(&asked) {
        let limit = MOST_SEQUENCES;
        return Err(BenchError::Sequences { asked, limit });
    }
    let mut runner = Runner::open(&args.model, asked, threads)?;
    let figures = measure(&mut runner, &args.model, inputs, asked, args.seconds)?;
    Ok((figures, runner.facts.load_ms))
}

/// Measures each of the three for a third of the time, at least once.
pub fn measure(
    runner: &mut Runner,
    path: &Path,
    inputs: &Inputs,
    together: usize,
    seconds: f64,
) -> Result<Figures, MeasureError> {
    let text: Vec<u32> = runner.tokens(inputs, PROMPT)?.concat();
    if text.len() < SHORT {
        return Err(MeasureError::TooShort {
            tokens: text.len(),
            wanted: SHORT,
        });
    }
    let limit = Duration::try_from_secs_f64(seconds / 3.0).unwrap_or_default();
    let prompt = &text[..text.len().min(PROMPT).min(runner.context())];
    let prefill_tokens_per_second = median(limit, || {
        let mut sequence = runner.sequence(0, PROMPT);
        let begun = Instant::now();
        runner.read(&mut sequence, prompt)?;
        Ok(prompt.len() as f64 / begun.elapsed().as_secs_f64())
    })?;
    let mut took = Vec::new();
    let decode_tokens_per_second = median(limit, || {
        let steps = write(runner, &text, 1)?;
        let all: Duration = steps.iter().sum();
        took.extend(steps);
        Ok(WRITTEN as f64 / all.as_secs_f64())
    })?;
    let batched_decode_tokens_per_second = median(limit, || {
        let all: Duration = write(runner, &text, together)?.iter().sum();
        Ok((together * WRITTEN) as f64 / all.as_secs_f64())
    })?;
    let (p50_ms, p99_ms) = p50_and_p99_ms(took);
    let facts = &runner.facts;
    Ok(Figures {
        model: path.display().to_string(),
        task: "generation",
        precision: facts.precision,
        threads: facts.threads,
        speed: super::Speed::Decoder(Speed {
            prefill_tokens: prompt.len(),
            prefill_tokens_per_second,
            decode_tokens_per_second,
            sequences: together,
            batched_decode_tokens_per_second,
        }),
        p50_ms,
        p99_ms,
        model_bytes: facts.model_bytes,
        weights_bytes: facts.weights_bytes,
        process: None,
    })
}

/// How long each step takes of sequences that go on together, behind prompts of unequal length.
fn write(
    runner: &mut Runner,
    text: &[u32],
    together: usize,
) -> Result<Vec<Duration>, MeasureError> {
    let mut sequences: Vec<Sequence> = (0..together)
        .map(|number| runner.sequence(number, EACH))
        .collect();
    let mut tokens = Vec::new();
    for (number, sequence) in sequences.iter_mut().enumerate() {
        let length = SHORT + number * LONGER % (EACH - SHORT - WRITTEN);
        let prompt: Vec<u32> = (text.iter().cycle().skip(number * SHORT).take(length))
            .copied()
            .collect();
        tokens.push(tidegate_generation::likeliest(
            runner.read(sequence, &prompt)?,
        ));
    }
    let mut took = Vec::with_capacity(WRITTEN);
    for _ in 0..WRITTEN {
        let begun = Instant::now();
        tokens = runner.next(&mut sequences, &tokens)?;
        took.push(begun.elapsed());
    }
    Ok(took)
}

/// The median rate of as many rounds as there is time for, the first one not counted.
fn median(
    limit: Duration,
    mut round: impl FnMut() -> Result<f64, MeasureError>,
) -> Result<f64, MeasureError> {
    round()?;
    let begun = Instant::now();
    let mut rates = Vec::new();
    while rates.is_empty() || begun.elapsed() < limit {
        rates.push(round()?);
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}

impl fmt::Display for Speed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "prefill      {:.0} tokens/s, a prompt of {}",
            self.prefill_tokens_per_second, self.prefill_tokens
        )?;
        writeln!(
            out,
            "decode       {:.1} tokens/s",
            self.decode_tokens_per_second
        )?;
        writeln!(
            out,
            "{:>2} together  {:.1} tokens/s",
            self.sequences, self.batched_decode_tokens_per_second
        )
    }
}
