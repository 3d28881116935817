//! `tidegate-worker quantize`: from a model's directory, or a decoder's GGUF file, to one file with
//! weights of 8 bits, or 4 for decoders.
//!
//! The model is built while its tensors are quantized, through the same code that will load the
//! file, so what is written is known to be complete and what is left out is known not to be
//! needed.

mod decoder;
mod seq2seq;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use safetensors::Dtype;
use serde::Serialize;
use thiserror::Error;
use tidegate_kernels::quantize_weights;
use tidegate_process::Progress;

use crate::models::{
    self, Matrix, ModelError, Network, Package, Provenance, SCALES, Stored, Tensors, Values,
    Weights,
};
use crate::units::Bytes;

/// A matrix that rounding would change by more than this stays as it is.
///
/// Rounding values that are spread like a bell curve to 127 steps a side changes them by 0.7 to
/// 1.1 %, whatever their size; more means that a few outliers take the steps from all others.
const MOST_ERROR: f64 = 0.03;

/// What progress counts.
const TENSORS: &str = "tensors";

#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// A directory in Hugging Face's layout, or a decoder's GGUF file.
    #[arg(long, value_name = "PATH|hf://...|s3://...")]
    pub model: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What the weights become; q4_0 and q4_1 are for decoders.
    #[arg(long = "type", value_enum, default_value_t = Type::Int8)]
    pub kind: Type,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Type {
    /// 8 bits for each weight; one scale for each output channel or table row, for T5 and decoders
    /// (GGUF's Q8_0) one for every 32 weights.
    Int8,
    /// 4 bits for each weight, one scale for every 32 weights (decoders).
    #[value(name = "q4_0")]
    Q4_0,
    /// 4 bits for each weight, a scale and a minimum for every 32 weights (decoders).
    #[value(name = "q4_1")]
    Q4_1,
}

#[derive(Debug, Error)]
pub enum QuantizeError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{} is quantized already; give what it was made from", .0.display())]
    AlreadyQuantized(PathBuf),
    #[error(
        "{}: its matrices are in {kind} and would become no smaller; give what it was made from, or choose a smaller --type",
        path.display()
    )]
    AsSmall { path: PathBuf, kind: &'static str },
    #[error("--type: 4 bits are for decoders; {} is none: expected int8", .0.display())]
    NotADecoder(PathBuf),
    #[error("{}: its directory does not exist", .0.display())]
    NowhereToWrite(PathBuf),
    #[error("{} is what the model is made from; write to another file", .0.display())]
    OverItself(PathBuf),
}

/// What became of a matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub tensor: String,
    pub shape: [usize; 2],
    pub bytes_before: usize,
    pub bytes_after: usize,
    /// ||W - W'|| / ||W||, in the Frobenius norm.
    pub error: f64,
    pub kept: bool,
}

/// What became of a model.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was quantized and how.
    pub rule: String,
    #[serde(rename = "matrices")]
    pub rows: Vec<Row>,
    /// Biases, norms and heads, which stay in f32.
    pub exact_tensors: usize,
    pub exact_bytes: usize,
    /// Tensors of the checkpoint that the model does not use.
    pub left_out: Vec<String>,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// The rule, as it is printed and kept in the file.
pub fn rule() -> String {
    format!(
        "matrices and tables in int8, one scale a row, except where rounding changes them by more than {} %; biases, norms and heads in float32",
        MOST_ERROR * 100.0
    )
}

/// Quantizes `args.model` into `args.out`.
pub fn run(args: &QuantizeArgs) -> Result<Report, QuantizeError> {
    let directory = args
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if directory.is_some_and(|parent| !parent.is_dir()) {
        return Err(QuantizeError::NowhereToWrite(args.out.clone()));
    }
    let weights = args.model.join(models::WEIGHTS_FILE);
    let same = |path: &Path| path.canonicalize().ok();
    let sources = [same(&weights), same(&args.model)];
    if same(&args.out).is_some_and(|out| sources.contains(&Some(out))) {
        return Err(QuantizeError::OverItself(args.out.clone()));
    }
    if models::decoder::is_decoder(&args.model) {
        return decoder::run(&args.model, &args.out, args.kind);
    }
    if args.kind != Type::Int8 {
        return Err(QuantizeError::NotADecoder(args.model.clone()));
    }
    if models::seq2seq::is_seq2seq(&args.model) {
        return seq2seq::run(&args.model, &args.out);
    }
    let opened = models::open(&args.model)?;
    if opened.package.is_some() {
        return Err(QuantizeError::AlreadyQuantized(args.model.clone()));
    }
    // Also proves that the tokenizer can be read, and that its file is found below.
    opened.tokenizer()?;
    let dense = opened.dense()?;
    let mut quantizer = Quantizer::new(opened.weights);
    Network::build(
        &opened.architecture,
        opened.layout.pooling,
        dense,
        opened.max_tokens,
        &mut quantizer,
    )?;
    let files = opened.files.found()?;
    finish(quantizer, &args.model, &args.out, files, rule())
}

/// Writes what was quantized.
fn finish(
    quantizer: Quantizer,
    model: &Path,
    out: &Path,
    files: BTreeMap<String, Vec<u8>>,
    rule: String,
) -> Result<Report, QuantizeError> {
    quantizer.progress.clear();
    let bytes_before = quantizer.weights.file_bytes();
    let provenance = Provenance {
        source: name_of(model),
        source_sha256: models::sha256(&quantizer.weights)?,
        made_by: format!("tidegate-worker {}", env!("CARGO_PKG_VERSION")),
        rule: rule.clone(),
    };
    let left_out = quantizer.left_out();
    Package::write(out, quantizer.stored, files, provenance)?;
    Ok(Report {
        rule,
        rows: quantizer.rows,
        exact_tensors: quantizer.exact_tensors,
        exact_bytes: quantizer.exact_bytes,
        left_out,
        bytes_before,
        bytes_after: Weights::open(out)?.file_bytes(),
    })
}

fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Passes tensors on, quantized, and keeps what is to be written.
struct Quantizer {
    weights: Weights,
    stored: BTreeMap<String, Stored>,
    rows: Vec<Row>,
    exact_tensors: usize,
    exact_bytes: usize,
    progress: Progress,
}

impl Quantizer {
    fn new(weights: Weights) -> Quantizer {
        Quantizer {
            progress: Progress::new(weights.names().len(), TENSORS),
            weights,
            stored: BTreeMap::new(),
            rows: Vec::new(),
            exact_tensors: 0,
            exact_bytes: 0,
        }
    }

    fn left_out(&self) -> Vec<String> {
        let names = self.weights.names().into_iter();
        names
            .filter(|name| !self.stored.contains_key(name))
            .collect()
    }

    fn store(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        let stored = Stored {
            dtype,
            shape: shape.to_vec(),
            bytes,
        };
        self.stored.insert(name.to_owned(), stored);
    }

    fn store_exact(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.progress.step(name);
        self.exact_tensors += 1;
        self.exact_bytes += size_of_val(values);
        self.store(name, Dtype::F32, shape, little_endian(values));
    }
}

impl Tensors for Quantizer {
    fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        self.progress.step(name);
        let original = self.weights.exact(name, rows, cols)?;
        let (values, scales) = quantize_weights(&original, cols)?;
        let quantized = Matrix {
            cols,
            values: Values::Int8 { values, scales },
        };
        let error = relative_error(&original, &quantized);
        let kept = error > MOST_ERROR;
        let bytes_before = size_of_val(original.as_slice());
        let (matrix, bytes_after) = match (kept, &quantized.values) {
            (false, Values::Int8 { values, scales }) => {
                let bytes = values.iter().map(|value| *value as u8).collect();
                self.store(name, Dtype::I8, &[rows, cols], bytes);
                let scale = format!("{name}{SCALES}");
                self.store(&scale, Dtype::F32, &[rows], little_endian(scales));
                (quantized, rows * cols + size_of::<f32>() * rows)
            }
            _ => {
                self.store(name, Dtype::F32, &[rows, cols], little_endian(&original));
                let values = Values::F32(original);
                (Matrix { cols, values }, bytes_before)
            }
        };
        self.rows.push(Row {
            tensor: name.to_owned(),
            shape: [rows, cols],
            bytes_before,
            bytes_after,
            error,
            kept,
        });
        Ok(matrix)
    }

    fn exact(&mut self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError> {
        let values = self.weights.exact(name, rows, cols)?;
        self.store_exact(name, &[rows, cols], &values);
        Ok(values)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let values = self.weights.vector(name, len)?;
        self.store_exact(name, &[len], &values);
        Ok(values)
    }
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn relative_error(original: &[f32], quantized: &Matrix) -> f64 {
    let restored = quantized.values.clone().into_f32(quantized.cols);
    error_of(original, restored)
}

/// ||W - W'|| / ||W||.
fn error_of(original: &[f32], restored: Vec<f32>) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let off = original.iter().zip(restored).map(|(a, b)| square(a - b));
    let all: f64 = original.iter().map(|&x| square(x)).sum();
    match all > 0.0 {
        true => (off.sum::<f64>() / all).sqrt(),
        false => 0.0,
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self
            .rows
            .iter()
            .map(|row| row.tensor.len())
            .max()
            .unwrap_or(6);
        writeln!(
            out,
            "{:<width$}  {:>13}  {:>10}  {:>10}  {:>7}",
            "tensor", "shape", "before", "after", "error"
        )?;
        for row in &self.rows {
            let shape = format!("{} x {}", row.shape[0], row.shape[1]);
            writeln!(
                out,
                "{:<width$}  {shape:>13}  {:>10}  {:>10}  {:>6.2}%{}",
                row.tensor,
                Bytes(row.bytes_before as u64),
                Bytes(row.bytes_after as u64),
                row.error * 100.0,
                if row.kept { "  kept" } else { "" }
            )?;
        }
        writeln!(
            out,
            "and {} biases, norms and heads, {}",
            self.exact_tensors,
            Bytes(self.exact_bytes as u64)
        )?;
        if !self.left_out.is_empty() {
            writeln!(out, "not needed, left out: {}", self.left_out.join(", "))?;
        }
        writeln!(out, "rule: {}", self.rule)?;
        write!(
            out,
            "{} before, {} after with tokenizer and config: {:.2} times smaller",
            Bytes(self.bytes_before),
            Bytes(self.bytes_after),
            self.bytes_before as f64 / self.bytes_after.max(1) as f64
        )
    }
}
