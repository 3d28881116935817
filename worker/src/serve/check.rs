//! `serve --check`: whether a worker with this configuration would come to serve, as far as can be told without
//! listening, downloading, or reading weights.

use std::fmt;
use std::path::Path;

use tidegate_config::Tokens;

use super::fitness::Demands;
use super::{ServeError, decoder, seq2seq};
use crate::config::WorkerConfig;
use crate::memory::Plan;
use crate::models::{self, Source};

/// What was found in order.
#[derive(Debug)]
pub enum Checked {
    /// The model that is served: what it is, and what it will hold.
    Model { path: String, is: String },
    /// It is on another machine.
    Elsewhere,
}

/// # Errors
/// As serving would fail: the token file, the model's files, its recorded quality, its memory.
pub fn check(config: &WorkerConfig) -> Result<Checked, ServeError> {
    let source = config.model.as_ref().ok_or(ServeError::NoModel)?;
    config.token_file.as_deref().map(Tokens::read).transpose()?;
    match source {
        Source::Path(path) => Ok(Checked::Model {
            path: path.display().to_string(),
            is: check_model(path, config)?,
        }),
        Source::Hub { .. } | Source::S3(_) => Ok(Checked::Elsewhere),
    }
}

fn check_model(path: &Path, config: &WorkerConfig) -> Result<String, ServeError> {
    let demands = Demands::of(config);
    if models::decoder::is_decoder(path) {
        let plan = decoder::check(path, &demands, &config.generate)?;
        return Ok(format!("a model that generates text, needs {plan}"));
    }
    if models::seq2seq::is_seq2seq(path) {
        let plan = seq2seq::check(path, &demands, &config.generate)?;
        return Ok(format!("a sequence-to-sequence model, needs {plan}"));
    }
    let opened = models::open(path)?;
    demands.check(&opened)?;
    opened.tokenizer()?;
    let (task, plan) = (opened.task(), Plan::of(&opened, demands.threads));
    let is = match task {
        models::Task::Embedding { .. } => "an embedding model",
        models::Task::Classification { .. } => "a classifier",
        models::Task::Reranking { .. } => "a reranker",
    };
    Ok(format!("{is}, needs {plan}"))
}

impl fmt::Display for Checked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checked::Model { path, is } => write!(out, "{path} is valid: {is}"),
            Checked::Elsewhere => {
                out.write_str("the model is not checked: it is downloaded when it is served")
            }
        }
    }
}
