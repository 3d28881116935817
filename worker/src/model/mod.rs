//! Models: from a directory to encoders that turn token ids into vectors.
//!
//! candle is known in here alone: what serves requests sees [`Encoder`], whatever computes
//! behind it.

mod bert;
mod hub;
mod layout;
mod pooling;
mod source;
mod tokenizer;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

pub use hub::{HubError, fetch};
pub use pooling::Pooling;
pub use source::{Source, SourceError};
pub use tokenizer::{Overlong, TextTokenizer, TokenIds, TokenizeError};

/// Turns texts, as token ids, into vectors. Each computing thread owns one.
pub trait Encoder: Send {
    /// One vector of [`Model::dimensions`] numbers a text, in the order of the texts.
    /// No text is empty or longer than the tokenizer's limit.
    fn embed(&mut self, batch: &[&[u32]]) -> Result<Vec<Vec<f32>>, ModelError>;
}

/// A loaded model.
pub struct Model {
    pub tokenizer: TextTokenizer,
    /// One for each computing thread; they share the weights.
    pub encoders: Vec<Box<dyn Encoder>>,
    /// Numbers in a vector.
    pub dimensions: usize,
}

#[derive(Debug, Error)]
pub enum ModelError {
    #[error("{}: there is no such directory", .0.display())]
    NoDirectory(PathBuf),
    #[error("{}: cannot be read: {error}", file.display())]
    Unreadable {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{} is missing: {hint}", file.display())]
    Missing { file: PathBuf, hint: &'static str },
    #[error("{}: {problem}", file.display())]
    Invalid { file: PathBuf, problem: String },
    #[error("computing failed: {0}")]
    Compute(#[from] candle_core::Error),
}

/// The one part of every config.json that says how to read the rest.
#[derive(Deserialize)]
struct Family {
    model_type: String,
}

/// Loads the model in `directory` with `lanes` encoders.
pub fn load(directory: &Path, lanes: usize) -> Result<Model, ModelError> {
    if !directory.is_dir() {
        return Err(ModelError::NoDirectory(directory.to_owned()));
    }
    let layout = layout::read(directory)?;
    let family: Family = layout::read_json(&layout.config_file())?;
    let loaded = match family.model_type.as_str() {
        "bert" => bert::load(&layout)?,
        other => {
            return Err(ModelError::Invalid {
                file: layout.config_file(),
                problem: format!("model_type \"{other}\" is not supported; expected \"bert\""),
            });
        }
    };
    let limit = layout.max_tokens(loaded.positions)?;
    let tokenizer = TextTokenizer::read(
        &layout.tokenizer_file(),
        limit,
        loaded.vocabulary,
        layout.casing,
    )?;
    let lane = || Box::new(loaded.encoder.clone()) as Box<dyn Encoder>;
    Ok(Model {
        tokenizer,
        dimensions: loaded.dimensions,
        encoders: (0..lanes).map(|_| lane()).collect(),
    })
}
