//! Encoders: tokens a second over all inputs, one text at a time, and texts of a set length.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{BenchArgs, BenchError, Figures};
use crate::measure::{Engine, Inputs, MeasureError, p50_and_p99_ms};
use crate::models;

/// Inputs that are timed one by one.
const ALONE: usize = 200;

/// Computed before the measurement.
const WARM_UP: usize = 20;

/// Throughput is from text: tokenization is in it, loading is not, and padding is not counted.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Of the median pass.
    pub items_per_second: f64,
    pub tokens_per_second: f64,
    /// Of the slowest and of the fastest pass.
    pub tokens_per_second_range: [f64; 2],
    pub passes: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_length: Vec<AtLength>,
}

/// One text of a set length.
#[derive(Clone, Debug, Serialize)]
pub struct AtLength {
    pub tokens: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// The figures, and the milliseconds from opening the files to the first result.
pub fn run(args: &BenchArgs, inputs: Inputs, threads: usize) -> Result<(Figures, f64), BenchError> {
    let begun = Instant::now();
    let model = models::load(&args.model)?;
    let limit = model.tokenizer.limit();
    let within = 1..=limit;
    if let Some(&asked) = args.lengths.iter().find(|tokens| !within.contains(tokens)) {
        return Err(BenchError::Length { asked, limit });
    }
    let inputs = inputs.for_task(&model.card.task);
    let mut engine = Engine::new(model, threads);
    engine.latencies(&inputs.items[..1])?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let mut figures = measure(&mut engine, &inputs, args.seconds)?;
    figures.model = args.model.display().to_string();
    let mut by_length = Vec::new();
    for &tokens in &args.lengths {
        engine.latencies_at(&inputs.items, tokens, WARM_UP)?;
        let took = engine.latencies_at(&inputs.items, tokens, ALONE)?;
        let (p50_ms, p99_ms) = p50_and_p99_ms(took);
        by_length.push(AtLength {
            tokens,
            p50_ms,
            p99_ms,
        });
    }
    if let super::Speed::Encoder(speed) = &mut figures.speed {
        speed.by_length = by_length;
    }
    Ok((figures, load_ms))
}

/// Throughput and latency of a loaded model.
pub fn measure(
    engine: &mut Engine,
    inputs: &Inputs,
    seconds: f64,
) -> Result<Figures, MeasureError> {
    let items = &inputs.items;
    let few = &items[..items.len().min(WARM_UP)];
    engine.pass(few)?;
    let mut rates = Vec::new();
    let begun = Instant::now();
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let mut tokens = 0;
    while rates.is_empty() || begun.elapsed() < limit {
        let pass = engine.pass(items)?;
        tokens = pass.tokens;
        rates.push(tokens as f64 / pass.took.as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let median = rates[rates.len() / 2];
    engine.latencies(few)?;
    let alone = &items[..items.len().min(ALONE)];
    let (p50_ms, p99_ms) = p50_and_p99_ms(engine.latencies(alone)?);
    let card = &engine.model.card;
    Ok(Figures {
        model: String::new(),
        task: card.task.name(),
        precision: card.precision.name(),
        threads: engine.threads(),
        speed: super::Speed::Encoder(Speed {
            items_per_second: median * items.len() as f64 / tokens as f64,
            tokens_per_second: median,
            tokens_per_second_range: [rates[0], rates[rates.len() - 1]],
            passes: rates.len(),
            by_length: Vec::new(),
        }),
        p50_ms,
        p99_ms,
        model_bytes: card.file_bytes,
        weights_bytes: engine.model.network.weights_bytes() as u64,
        process: None,
    })
}

impl fmt::Display for Speed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [slowest, fastest] = self.tokens_per_second_range;
        writeln!(
            out,
            "throughput   {:.0} tokens/s, {:.1} texts/s; median of {} passes, {slowest:.0} to {fastest:.0} tokens/s",
            self.tokens_per_second, self.items_per_second, self.passes
        )?;
        for at in &self.by_length {
            writeln!(
                out,
                "{:>4} tokens  p50 {:.2} ms, p99 {:.2} ms, without tokenization",
                at.tokens, at.p50_ms, at.p99_ms
            )?;
        }
        Ok(())
    }
}
