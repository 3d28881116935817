//! `tidegate-worker bench`: the speed and memory of a model on this machine.

pub(crate) mod decoder;
pub(crate) mod encoder;
pub(crate) mod seq2seq;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use crate::measure::{Inputs, MeasureError};
use crate::models::{self, ModelError};
use crate::threads;
use crate::units::Bytes;

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// A directory in Hugging Face's layout, a GGUF file, or a file written by `quantize`.
    #[arg(long, value_name = "PATH|hf://...|s3://...")]
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
pub struct Figures {
    pub model: String,
    pub task: &'static str,
    pub precision: &'static str,
    pub threads: usize,
    #[serde(flatten)]
    pub speed: Speed,
    /// Of one text alone, or of one token of a decoder.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the weights' file.
    pub model_bytes: u64,
    /// Held by the weights after the warm-up.
    pub weights_bytes: u64,
    /// What `bench` alone can tell, because its process has one model.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFigures>,
}

/// How fast a model is, in what its family is measured by.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Speed {
    Encoder(encoder::Speed),
    Decoder(decoder::Speed),
    Seq2Seq(seq2seq::Speed),
}

impl Speed {
    /// Of an encoder the tokens that it reads, of others those that they generate: of a decoder for
    /// one text, of a sequence-to-sequence model for eight together.
    pub fn tokens_per_second(&self) -> f64 {
        match self {
            Speed::Encoder(speed) => speed.tokens_per_second,
            Speed::Decoder(speed) => speed.decode_tokens_per_second,
            Speed::Seq2Seq(speed) => speed.batched_decode_tokens_per_second,
        }
    }
}

/// Of a process with one model.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessFigures {
    /// Held by this process; Linux only.
    pub resident_bytes: Option<u64>,
    /// From opening the files to the first result.
    pub load_ms: f64,
}

/// Measures whatever kind of model it is.
pub fn run(args: &BenchArgs) -> Result<Figures, BenchError> {
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
    let inputs = Inputs::read(args.inputs.as_deref())?;
    let threads = threads::count(args.threads);
    let (mut figures, load_ms) = match (generates, translates) {
        (true, _) => decoder::run(args, &inputs, threads)?,
        (_, true) => seq2seq::run(args, &inputs, threads)?,
        _ => encoder::run(args, inputs, threads)?,
    };
    figures.process = Some(ProcessFigures {
        resident_bytes: crate::memory::resident(),
        load_ms,
    });
    Ok(figures)
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            model,
            task,
            precision,
            threads,
            ..
        } = self;
        writeln!(out, "{model} ({task}, {precision}) on {threads} threads")?;
        match &self.speed {
            Speed::Encoder(speed) => speed.fmt(out)?,
            Speed::Decoder(speed) => speed.fmt(out)?,
            Speed::Seq2Seq(speed) => speed.fmt(out)?,
        }
        let one = match self.speed {
            Speed::Decoder(_) => "one token",
            Speed::Encoder(_) | Speed::Seq2Seq(_) => "one text",
        };
        let (p50, p99) = (self.p50_ms, self.p99_ms);
        writeln!(out, "{one:<12} p50 {p50:.2} ms, p99 {p99:.2} ms")?;
        let (file, weights) = (Bytes(self.model_bytes), Bytes(self.weights_bytes));
        write!(
            out,
            "size         {file} on disk, {weights} of weights in memory"
        )?;
        let Some(process) = &self.process else {
            return Ok(());
        };
        let resident = Bytes(process.resident_bytes.unwrap_or(0));
        let load_ms = process.load_ms;
        write!(out, ", {resident} resident; loaded in {load_ms:.0} ms")
    }
}
