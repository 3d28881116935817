//! `tidegate-worker bench`: the speed and memory of a model on this machine.

pub(crate) mod decoder;
pub(crate) mod seq2seq;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use crate::measure::{Engine, Inputs, MeasureError, p50_and_p99_ms};
use crate::models::{self, ModelError};
use crate::threads;
use crate::units::Bytes;

/// Inputs that are timed one by one.
const ALONE: usize = 200;

/// Computed before the measurement.
const WARM_UP: usize = 20;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A directory in Hugging Face's layout, a GGUF file, or a file written by `quantize`.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// A JSON array of texts, or one text in each line [default: 512 built-in passages].
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Threads that compute [default: the processors this process may use].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// How long throughput is measured; whole passes over the inputs, at least one.
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub seconds: f64,
    /// Also measure one text of exactly this many tokens, without tokenization.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',')]
    pub lengths: Vec<usize>,
    /// Generate exactly this many tokens for every text (T5).
    #[arg(long, value_name = "TOKENS")]
    pub write: Option<usize>,
    /// Sequences that are generated together (decoders).
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub sequences: usize,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Error)]
pub enum BenchError {
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error("--lengths: the model reads 1 to {limit} tokens, not {asked}")]
    Length { asked: usize, limit: usize },
    #[error("--write: a text has 1 to {limit} tokens here, not {asked}")]
    Write { asked: usize, limit: usize },
    #[error("--sequences: 1 to {limit} are computed together, not {asked}")]
    Sequences { asked: usize, limit: usize },
    #[error("{option} does not apply to {}", path.display())]
    DoesNotApply { option: &'static str, path: PathBuf },
}

impl From<ModelError> for BenchError {
    fn from(error: ModelError) -> Self {
        BenchError::Measure(error.into())
    }
}

/// What was measured of a model.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Measured {
    Encoder(Figures),
    Decoder(decoder::Figures),
    Seq2Seq(seq2seq::Figures),
}

impl std::fmt::Display for Measured {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Measured::Encoder(figures) => figures.fmt(out),
            Measured::Decoder(figures) => figures.fmt(out),
            Measured::Seq2Seq(figures) => figures.fmt(out),
        }
    }
}

/// What was measured. Throughput is from text: tokenization is in it, loading is not, and padding
/// is not counted.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub model: String,
    pub task: &'static str,
    pub precision: &'static str,
    pub threads: usize,
    /// Of the median pass.
    pub items_per_second: f64,
    pub tokens_per_second: f64,
    /// Of the slowest and of the fastest pass.
    pub tokens_per_second_range: [f64; 2],
    pub passes: usize,
    /// One text at a time, on all threads, tokenization included.
    pub p50_ms: f64,
    pub p99_ms: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by_length: Vec<AtLength>,
    /// Of the weights' file.
    pub model_bytes: u64,
    /// Held by the weights after the warm-up.
    pub weights_bytes: u64,
    /// What `bench` alone can tell, for its process has one model.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFigures>,
}

/// Of a process with one model.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessFigures {
    /// Held by this process; Linux only.
    pub resident_bytes: Option<u64>,
    /// From opening the files to the first result.
    pub load_ms: f64,
}

/// One text of a set length.
#[derive(Clone, Debug, Serialize)]
pub struct AtLength {
    pub tokens: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Measures whatever kind of model it is.
pub fn run(args: &BenchArgs) -> Result<Measured, BenchError> {
    let does_not_apply = |option| BenchError::DoesNotApply {
        option,
        path: args.model.clone(),
    };
    let generates = models::decoder::is_decoder(&args.model);
    let translates = !generates && models::seq2seq::is_seq2seq(&args.model);
    if !args.lengths.is_empty() && (generates || translates) {
        return Err(does_not_apply("--lengths"));
    }
    if args.write.is_some() && !translates {
        return Err(does_not_apply("--write"));
    }
    match (generates, translates) {
        (true, _) => decoder::run(args).map(Measured::Decoder),
        (_, true) => seq2seq::run(args).map(Measured::Seq2Seq),
        _ => encoder(args).map(Measured::Encoder),
    }
}

fn encoder(args: &BenchArgs) -> Result<Figures, BenchError> {
    let inputs = Inputs::read(args.inputs.as_deref())?;
    let begun = Instant::now();
    let model = models::load(&args.model)?;
    let limit = model.tokenizer.limit();
    if let Some(&asked) = args
        .lengths
        .iter()
        .find(|&&tokens| tokens == 0 || tokens > limit)
    {
        return Err(BenchError::Length { asked, limit });
    }
    let inputs = inputs.for_task(&model.card.task);
    let mut engine = Engine::new(model, threads::count(args.threads));
    engine.latencies(&inputs.items[..1])?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    let mut figures = measure(&mut engine, &inputs, args.seconds)?;
    figures.model = args.model.display().to_string();
    figures.process = Some(ProcessFigures {
        resident_bytes: crate::memory::resident(),
        load_ms,
    });
    for &tokens in &args.lengths {
        engine.latencies_at(&inputs.items, tokens, WARM_UP)?;
        let took = engine.latencies_at(&inputs.items, tokens, ALONE)?;
        let (p50_ms, p99_ms) = p50_and_p99_ms(took);
        figures.by_length.push(AtLength {
            tokens,
            p50_ms,
            p99_ms,
        });
    }
    Ok(figures)
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
        items_per_second: median * items.len() as f64 / tokens as f64,
        tokens_per_second: median,
        tokens_per_second_range: [rates[0], rates[rates.len() - 1]],
        passes: rates.len(),
        p50_ms,
        p99_ms,
        by_length: Vec::new(),
        model_bytes: card.file_bytes,
        weights_bytes: engine.model.network.weights_bytes() as u64,
        process: None,
    })
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [slowest, fastest] = self.tokens_per_second_range;
        writeln!(
            out,
            "{} ({}, {}) on {} threads",
            self.model, self.task, self.precision, self.threads
        )?;
        writeln!(
            out,
            "throughput   {:.0} tokens/s, {:.1} texts/s; median of {} passes, {slowest:.0} to {fastest:.0} tokens/s",
            self.tokens_per_second, self.items_per_second, self.passes
        )?;
        writeln!(
            out,
            "one text     p50 {:.2} ms, p99 {:.2} ms",
            self.p50_ms, self.p99_ms
        )?;
        for at in &self.by_length {
            writeln!(
                out,
                "{:>4} tokens  p50 {:.2} ms, p99 {:.2} ms, without tokenization",
                at.tokens, at.p50_ms, at.p99_ms
            )?;
        }
        write_size(
            out,
            self.model_bytes,
            self.weights_bytes,
            self.process.as_ref(),
        )
    }
}

/// The line of a table that says how much room a model takes.
fn write_size(
    out: &mut std::fmt::Formatter<'_>,
    model_bytes: u64,
    weights_bytes: u64,
    process: Option<&ProcessFigures>,
) -> std::fmt::Result {
    let (file, weights) = (Bytes(model_bytes), Bytes(weights_bytes));
    write!(
        out,
        "size         {file} on disk, {weights} of weights in memory"
    )?;
    let Some(process) = process else {
        return Ok(());
    };
    let resident = Bytes(process.resident_bytes.unwrap_or(0));
    let load_ms = process.load_ms;
    write!(out, ", {resident} resident; loaded in {load_ms:.0} ms")
}
