//! `tidegate-worker compare`: cost and quality of models, compared with a reference, and the smallest
//! model that is good enough.

mod closeness;
mod decoder;
mod gates;
mod seq2seq;
mod table;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;
use tidegate_process::Progress;

pub use self::closeness::Closeness;
use self::gates::Found;
pub use self::gates::Gates;
use crate::bench::{self, Figures};
use crate::measure::{Engine, Inputs, MeasureError};
use crate::models::{self, ModelError, Package, Quality, Spread, Task, Weights, sha256};
use crate::threads;

/// How long each model's throughput is measured.
const SECONDS: f64 = 2.0;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// The reference model: a directory; for decoders also a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub reference: PathBuf,
    /// Models to compare: files written by `quantize`, GGUF files, or directories.
    #[arg(long = "model", value_name = "PATH", num_args = 1.., required = true)]
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

/// One model's line.
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

/// What a model gave, and what it is.
struct Judged {
    figures: Figures,
    results: Vec<Vec<f32>>,
    task: Task,
    /// Of its weights; of a model file, of what it was made from.
    origin_sha256: String,
}

/// What was found, of whatever kind the models are.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Compared {
    Encoders(Comparison),
    Decoders(decoder::Comparison),
    Seq2Seq(seq2seq::Comparison),
}

impl Compared {
    /// The smallest model that meets the gates.
    pub fn chosen(&self) -> Option<&str> {
        match self {
            Compared::Encoders(comparison) => comparison.chosen.as_deref(),
            Compared::Decoders(comparison) => comparison.chosen.as_deref(),
            Compared::Seq2Seq(comparison) => comparison.chosen.as_deref(),
        }
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Compared::Encoders(comparison) => comparison.fmt(out),
            Compared::Decoders(comparison) => comparison.fmt(out),
            Compared::Seq2Seq(comparison) => comparison.fmt(out),
        }
    }
}

/// Measures and judges all models, one after another, so that they never share the machine.
pub fn run(args: &CompareArgs) -> Result<Compared, CompareError> {
    if models::decoder::is_decoder(&args.reference) {
        return decoder::run(args).map(Compared::Decoders);
    }
    match models::seq2seq::is_seq2seq(&args.reference) {
        true => seq2seq::run(args).map(Compared::Seq2Seq),
        false => encoders(args).map(Compared::Encoders),
    }
}

/// Shows which of the models is measured.
fn progress(args: &CompareArgs) -> Progress {
    Progress::new(1 + args.models.len(), "models")
}

fn encoders(args: &CompareArgs) -> Result<Comparison, CompareError> {
    let inputs = Inputs::read(args.inputs.as_deref())?;
    let progress = progress(args);
    progress.begin(&args.reference.display().to_string());
    let reference = judge(&args.reference, &inputs, args.threads)?;
    let mut rows = Vec::new();
    for path in &args.models {
        progress.next(&path.display().to_string());
        let judged = judge(path, &inputs, args.threads)?;
        let closeness = compare(path, &reference, &judged)?;
        if args.record {
            let measured = Measured {
                cosine: closeness.cosine,
                spearman: closeness.spearman,
                agreement: closeness.agreement,
                ..Measured::default()
            };
            record(path, &reference.origin_sha256, &inputs, measured)?;
        }
        let misses = args.gates.misses(&Found::of(&judged.figures, &closeness));
        rows.push(Row {
            figures: judged.figures,
            closeness,
            misses,
        });
    }
    let fit = rows.iter().filter(|row| row.misses.is_empty());
    let chosen = fit.min_by_key(|row| (row.figures.weights_bytes, row.figures.model_bytes));
    Ok(Comparison {
        chosen: chosen.map(|row| row.figures.model.clone()),
        reference: reference.figures,
        models: rows,
        inputs: inputs.items.len(),
        inputs_sha256: inputs.sha256,
        gates: args.gates.clone(),
    })
}

fn judge(path: &Path, inputs: &Inputs, asked_threads: usize) -> Result<Judged, CompareError> {
    let opened = models::open(path)?;
    let origin_sha256 = match &opened.package {
        Some(package) => package.provenance.source_sha256.clone(),
        None => sha256(&opened.weights)?,
    };
    let mut engine = Engine::new(opened.load()?, threads::count(asked_threads));
    let task = engine.model.card.task.clone();
    let inputs = inputs.for_task(&task);
    let mut figures = bench::measure(&mut engine, &inputs, SECONDS)?;
    figures.model = path.display().to_string();
    Ok(Judged {
        figures,
        results: engine.pass(&inputs.items)?.results,
        task,
        origin_sha256,
    })
}

fn compare(path: &Path, reference: &Judged, judged: &Judged) -> Result<Closeness, CompareError> {
    let (found, expected) = (judged.task.name(), reference.task.name());
    if found != expected {
        return Err(CompareError::OtherTask {
            path: path.to_owned(),
            found,
            expected,
        });
    }
    let (ours, theirs) = (&reference.results, &judged.results);
    if matches!(judged.task, Task::Embedding { .. }) {
        let same_space = judged.origin_sha256 == reference.origin_sha256;
        return Ok(closeness::of_vectors(ours, theirs, same_space));
    }
    if let (
        Task::Classification { labels: found, .. },
        Task::Classification {
            labels: expected, ..
        },
    ) = (&judged.task, &reference.task)
        && found != expected
    {
        return Err(CompareError::OtherLabels {
            path: path.to_owned(),
            found: found.clone(),
            expected: expected.clone(),
        });
    }
    Ok(closeness::of_logits(ours, theirs))
}

/// What a record keeps of a comparison; what does not apply is none.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    cosine: Option<Spread>,
    spearman: Option<f64>,
    agreement: Option<f64>,
    exact_match: Option<f64>,
    chrf: Option<f64>,
}

/// Keeps what was measured in the model file, for `serve` to hold against its floor.
fn record(
    path: &Path,
    reference_sha256: &str,
    inputs: &Inputs,
    measured: Measured,
) -> Result<(), CompareError> {
    let refused = |why| CompareError::NotRecordable {
        path: path.to_owned(),
        why,
    };
    if path.is_dir() {
        return Err(refused("is a directory; only a model file holds a record"));
    }
    let weights = Weights::open(path)?;
    let (package, _) = Package::read(&weights)?;
    if package.provenance.source_sha256 != reference_sha256 {
        return Err(refused("was not made from the reference"));
    }
    let quality = Quality {
        model_sha256: package.sha256,
        reference_sha256: reference_sha256.to_owned(),
        inputs_sha256: inputs.sha256.clone(),
        inputs: inputs.items.len(),
        cosine: measured.cosine,
        spearman: measured.spearman,
        agreement: measured.agreement,
        exact_match: measured.exact_match,
        chrf: measured.chrf,
        ..Quality::default()
    };
    Ok(Package::record(&weights, quality)?)
}

impl Found {
    fn of(figures: &Figures, close: &Closeness) -> Found {
        Found {
            cosine: close.cosine.map(|cosine| cosine.min),
            spearman: close.spearman,
            neighbours: close.neighbours,
            agreement: close.agreement,
            tokens_per_second: figures.tokens_per_second,
            p99_ms: figures.p99_ms,
            ..Found::default()
        }
    }
}
