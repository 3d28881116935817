//! Models: from a directory or a model file to a network that turns token ids into numbers.
//!
//! Only this module uses candle: the code that serves requests sees [`Model`].

pub mod decoder;
mod dense;
mod families;
mod files;
mod hub;
mod layout;
mod network;
mod package;
mod pooling;
mod s3;
pub mod seq2seq;
mod source;
mod tokenizer;
mod weights;

use std::path::{Path, PathBuf};

use thiserror::Error;
pub use tidegate_kernels::Workspace;
use tidegate_kernels::{Pooling, ShapeError};

pub use hub::{HubError, fetch};
pub use layout::WEIGHTS_FILE;
pub use layout::{Prompts, Scaling};
pub use network::{Network, Sequence, Want};
pub use package::{Package, Provenance, Quality, Spread, Stored, hex, sha256};
pub use s3::{Address, S3Config, S3Error, fetch as fetch_from_s3};
pub use source::{Source, SourceError};
pub use tokenizer::{
    Frame, Overlong, Part, Text, TextTokenizer, Token, TokenizeError, leading_pieces, reading_bytes,
};
pub use weights::{Matrix, SCALES, Tensors, Values, Weights};

use self::dense::Dense;
use self::families::Architecture;
use self::files::Files;
use self::layout::Layout;
use self::tokenizer::Limits;

/// What is said of results of which a number is infinite or none.
pub const NOT_FINITE: &str =
    "the model computes numbers that are not finite; its weights or its config are damaged";

/// Whether all numbers are numbers.
pub fn are_finite(rows: &[Vec<f32>]) -> bool {
    let finite = |row: &Vec<f32>| row.iter().all(|number| number.is_finite());
    rows.iter().all(finite)
}

/// A loaded model.
pub struct Model {
    pub tokenizer: TextTokenizer,
    pub network: Network,
    pub card: Card,
}

/// What a model is, for those who ask.
#[derive(Clone, Debug)]
pub struct Card {
    pub task: Task,
    pub precision: Precision,
    pub pooling: Pooling,
    /// Bytes of the weights' file.
    pub file_bytes: u64,
    /// What was recorded of a quantized model.
    pub quality: Option<Quality>,
}

/// What a model is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Vectors that are close where texts mean alike.
    Embedding { scaling: Scaling, prompts: Prompts },
    /// A score for each label.
    Classification {
        labels: Vec<String>,
        scoring: Scoring,
    },
    /// One score: how well a document answers a query.
    Reranking { label: String },
}

/// How a classifier's labels go together, as its config says by `problem_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// One of them holds.
    OneOf,
    /// Each holds or not.
    Each,
    /// They are no labels: each score is a number that was learned.
    Number,
}

/// What the linear layers and tables are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Float32,
    Int8,
}

#[derive(Debug, Error)]
pub enum ModelError {
    #[error("{}: there is no such model; expected a directory, a GGUF file or a file written by `quantize`", .0.display())]
    NoSuchModel(PathBuf),
    #[error("{}: cannot be read: {error}", file.display())]
    Unreadable {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: cannot be written: {problem}", file.display())]
    Unwritable { file: PathBuf, problem: String },
    #[error("{} is missing: {hint}", file.display())]
    Missing { file: PathBuf, hint: &'static str },
    #[error("{}: {problem}", file.display())]
    Invalid { file: PathBuf, problem: String },
    #[error("the model's parts do not fit together: {0}")]
    Shape(#[from] ShapeError),
    #[error("computing failed: {0}")]
    Compute(#[from] candle_core::Error),
}

impl Task {
    /// As text-embeddings-inference and bench name it.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Embedding { .. } => "embedding",
            Task::Classification { .. } => "classifier",
            Task::Reranking { .. } => "reranker",
        }
    }
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Precision::Float32 => "float32",
            Precision::Int8 => "int8",
        }
    }
}

/// A model whose small files are read and whose weights are not.
pub(crate) struct Opened {
    pub files: Files,
    pub weights: Weights,
    /// None for a directory.
    pub package: Option<Package>,
    pub architecture: Architecture,
    pub layout: Layout,
    /// The longest text in tokens, special ones included.
    pub max_tokens: usize,
}

/// Loads what `path` names: a directory in Hugging Face's layout, or a file written by `quantize`.
pub fn load(path: &Path) -> Result<Model, ModelError> {
    open(path)?.load()
}

/// Reads all of a model but its weights.
pub(crate) fn open(path: &Path) -> Result<Opened, ModelError> {
    let (files, weights, package) = if path.is_dir() {
        let files = Files::in_directory(path);
        if !files.path(families::CONFIG_FILE).is_file() {
            layout::check_place(&files)?;
        }
        // Before the weights, so that a directory without a model is refused for what it lacks first.
        files.need(families::CONFIG_FILE)?;
        let weights = layout::need_weights(&files)?;
        if weights.holds_int8() {
            return Err(weights.invalid("it holds int8 tensors; only a file written by `quantize` may, and is given by its own name"));
        }
        (files, weights, None)
    } else if path.is_file() {
        let weights = Weights::open(path)?;
        let (package, files) = Package::read(&weights)?;
        (files, weights, Some(package))
    } else {
        return Err(ModelError::NoSuchModel(path.to_owned()));
    };
    let architecture = families::read(&files)?;
    let layout = match architecture.labels() {
        None => layout::read(&files)?,
        Some(_) => layout::read_classifier(&files, architecture.head_pooling())?,
    };
    let max_tokens = layout.max_tokens(&files, architecture.longest())?;
    Ok(Opened {
        files,
        weights,
        package,
        architecture,
        layout,
        max_tokens,
    })
}

impl Opened {
    pub fn load(mut self) -> Result<Model, ModelError> {
        let tokenizer = self.tokenizer()?;
        let network = Network::build(
            &self.architecture,
            self.layout.pooling,
            self.dense()?,
            self.max_tokens,
            &mut self.weights,
        )?;
        Ok(Model {
            tokenizer,
            network,
            card: self.card(),
        })
    }

    /// The Dense modules.
    pub fn dense(&self) -> Result<Vec<Dense>, ModelError> {
        let mut width = self.architecture.config.hidden_size;
        let modules = self.layout.dense.iter().map(|path| {
            let module = Dense::read(&self.files, path, width)?;
            width = module.out();
            Ok(module)
        });
        modules.collect()
    }

    /// What each tensor will hold in memory.
    pub fn weight_sizes(&self) -> Vec<u64> {
        let names = self.weights.names().into_iter();
        let infos = names.filter_map(|name| self.weights.info(&name).cloned());
        let weights = infos.filter(|info| info.dtype != safetensors::Dtype::U8);
        weights
            .map(|info| {
                let values: usize = info.shape.iter().product();
                let bytes = match info.dtype {
                    safetensors::Dtype::I8 => 1,
                    _ => size_of::<f32>(),
                };
                (values * bytes) as u64
            })
            .collect()
    }

    /// tokenizer.json as it is; empty if it cannot be read, which loading will tell.
    pub fn tokenizer_json(&self) -> Vec<u8> {
        let json = self.files.read(layout::TOKENIZER_FILE).ok().flatten();
        json.unwrap_or_default()
    }

    pub fn tokenizer(&self) -> Result<TextTokenizer, ModelError> {
        let file = self.files.path(layout::TOKENIZER_FILE);
        let json = self.files.read(layout::TOKENIZER_FILE)?;
        let json = json.ok_or_else(|| ModelError::Missing {
            file: file.clone(),
            hint: layout::other_tokenizer(&self.files),
        })?;
        let limits = Limits {
            tokens: self.max_tokens,
            vocabulary: self.architecture.config.vocab_size,
            kinds: self.architecture.kinds(),
            pairs_alone: matches!(self.task(), Task::Reranking { .. }),
        };
        TextTokenizer::parse(&json, &file, limits, self.layout.casing)
    }

    pub fn task(&self) -> Task {
        match self.architecture.labels() {
            None => Task::Embedding {
                scaling: self.layout.scaling,
                prompts: self.layout.prompts.clone(),
            },
            Some(labels) => match <[String; 1]>::try_from(labels) {
                Ok([label]) => Task::Reranking { label },
                Err(labels) => Task::Classification {
                    labels,
                    scoring: self.architecture.scoring(),
                },
            },
        }
    }

    fn card(self) -> Card {
        Card {
            task: self.task(),
            precision: match self.package {
                Some(_) => Precision::Int8,
                None => Precision::Float32,
            },
            pooling: self.layout.pooling,
            file_bytes: self.weights.file_bytes(),
            quality: self.package.and_then(|package| package.quality),
        }
    }
}
