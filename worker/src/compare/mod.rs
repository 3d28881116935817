//! `tidegate-worker compare`: cost and quality of models, compared with a reference, and the smallest
//! model that is good enough.

mod chrf;
mod closeness;
mod decoder;
mod encoder;
mod gates;
mod seq2seq;
mod table;
mod vectors;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;
use tidegate_process::Progress;

pub use self::closeness::Closeness;
pub use self::gates::Gates;
use crate::bench::Figures;
use crate::measure::{Inputs, MeasureError};
use crate::models::{self, ModelError, Package, Quality, Weights, sha256};
use crate::threads;

/// How long each model's throughput is measured.
const SECONDS: f64 = 2.0;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The reference model: a directory; for decoders also a GGUF file.
    #[arg(long, value_name = "PATH|hf://...|s3://...")]
    pub reference: PathBuf,
    /// Models to compare: files written by `quantize`, GGUF files, or directories.
    #[arg(long = "model", value_name = "PATH|hf://...|s3://...", num_args = 1.., required = true)]
    pub models: Vec<PathBuf>,
    /// A JSON array of texts or pairs, or one text in each line; for classifiers and rerankers a tab separates
    /// the texts of a pair [default: 512 built-in passages].
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<PathBuf>,
    /// Threads that compute [default: the processors this process may use].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
    /// Store the result in each model file that was made from the reference.
    #[arg(long)]
    pub record: bool,
    /// Print one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gates: Gates,
}

#[derive(Debug, Error)]
pub enum CompareError {
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error("{} is a {found}, the reference is a {expected}: their results cannot be compared", path.display())]
    OtherTask {
        path: PathBuf,
        found: &'static str,
        expected: &'static str,
    },
    #[error("{} has the labels {found:?}, the reference has {expected:?}", path.display())]
    OtherLabels {
        path: PathBuf,
        found: Vec<String>,
        expected: Vec<String>,
    },
    #[error("--record: {} {why}", path.display())]
    NotRecordable { path: PathBuf, why: &'static str },
}

impl From<ModelError> for CompareError {
    fn from(error: ModelError) -> Self {
        CompareError::Measure(error.into())
    }
}

/// One model.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub figures: Figures,
    pub closeness: Closeness,
    /// What it misses of the gates; empty if it meets all.
    pub misses: Vec<String>,
}

/// The reference, the models beside it, and the choice.
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

/// Where a model comes from.
struct Origin {
    /// Of its weights; of a model file, of what it was made from.
    sha256: String,
    quantized: bool,
}

impl Origin {
    fn of(package: Option<&Package>, weights: &Weights) -> Result<Origin, ModelError> {
        Ok(Origin {
            sha256: match package {
                Some(package) => package.provenance.source_sha256.clone(),
                None => sha256(weights)?,
            },
            quantized: package.is_some(),
        })
    }
}

/// A reference of one family, and how models are held against it.
trait Reference {
    fn figures(&self) -> &Figures;

    fn inputs(&self) -> &Inputs;

    fn origin(&self) -> &Origin;

    /// Loads a model, measures it, and compares it with the reference.
    fn judge(&mut self, path: &Path) -> Result<(Figures, Closeness), CompareError>;

    /// The package of a model file.
    fn package(&self, path: &Path) -> Result<Package, CompareError> {
        let (package, _) = Package::read(&Weights::open(path)?)?;
        Ok(package)
    }

    /// Stores a record in a model file.
    fn store(&self, path: &Path, quality: Quality) -> Result<(), CompareError> {
        Ok(Package::record(&Weights::open(path)?, quality)?)
    }
}

/// Measures and judges all models, one after another, so that they never share the machine.
pub fn run(args: &CompareArgs) -> Result<Comparison, CompareError> {
    let inputs = Inputs::read(args.inputs.as_deref())?;
    let (path, threads) = (&args.reference, threads::count(args.threads));
    let progress = Progress::new(1 + args.models.len(), "models");
    progress.begin(&path.display().to_string());
    if models::decoder::is_decoder(path) {
        let inputs = match args.inputs {
            Some(_) => inputs,
            None => inputs.first(decoder::PASSAGES),
        };
        return compare(
            args,
            &progress,
            decoder::Decoder::open(path, inputs, threads)?,
        );
    }
    match models::seq2seq::is_seq2seq(path) {
        true => compare(
            args,
            &progress,
            seq2seq::Seq2Seq::open(path, inputs, threads)?,
        ),
        false => compare(
            args,
            &progress,
            encoder::Encoder::open(path, inputs, threads)?,
        ),
    }
}

fn compare(
    args: &CompareArgs,
    progress: &Progress,
    mut reference: impl Reference,
) -> Result<Comparison, CompareError> {
    let mut models = Vec::new();
    for path in &args.models {
        progress.next(&path.display().to_string());
        let (figures, closeness) = reference.judge(path)?;
        if args.record {
            record(path, &reference, &closeness)?;
        }
        models.push(Row {
            misses: args.gates.misses(&figures, &closeness),
            figures,
            closeness,
        });
    }
    let fit = models.iter().filter(|row| row.misses.is_empty());
    let chosen = fit.min_by_key(|row| (row.figures.weights_bytes, row.figures.model_bytes));
    let inputs = reference.inputs();
    Ok(Comparison {
        chosen: chosen.map(|row| row.figures.model.clone()),
        reference: reference.figures().clone(),
        inputs: inputs.items.len(),
        inputs_sha256: inputs.sha256.clone(),
        gates: args.gates.clone(),
        models,
    })
}

/// Keeps what was measured in the model file, for `serve` to hold against its floor.
fn record(
    path: &Path,
    reference: &impl Reference,
    closeness: &Closeness,
) -> Result<(), CompareError> {
    let refused = |why| CompareError::NotRecordable {
        path: path.to_owned(),
        why,
    };
    if path.is_dir() {
        return Err(refused("is a directory; only a model file holds a record"));
    }
    let package = reference.package(path)?;
    let Origin { sha256, quantized } = reference.origin();
    if *quantized || package.provenance.source_sha256 != *sha256 {
        return Err(refused("was not made from the reference"));
    }
    let inputs = reference.inputs();
    let quality = Quality {
        model_sha256: package.sha256,
        reference_sha256: sha256.clone(),
        inputs_sha256: inputs.sha256.clone(),
        inputs: inputs.items.len(),
        cosine: closeness.cosine,
        spearman: closeness.spearman,
        agreement: closeness.agreement,
        exact_match: closeness.exact_match,
        chrf: closeness.chrf,
        perplexity_ratio: closeness.perplexity_ratio,
        kl_divergence: closeness.kl_divergence,
        same_top: closeness.same_top,
        greedy_agreement: closeness.greedy_agreement,
    };
    reference.store(path, quality)
}
