//! What routes share: one value, made at start, handed to each of them.

use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_agent::{Admission, Lifecycle};
use tidegate_config::Tokens;
use tidegate_protocol::WorkerState;

use super::error::{ApiError, Fault};
use crate::config::LimitsConfig;
use crate::engine::Engine as _;
use crate::engine::encoder::Encoder;
use crate::metrics::Gauges;
use crate::models::{Card, Scaling, Task, TextTokenizer};

pub struct App {
    /// The model id that clients name.
    pub name: String,
    /// Unix seconds of the start.
    pub created: u64,
    pub limits: LimitsConfig,
    pub tokens: Option<Tokens>,
    pub admission: Arc<Admission>,
    pub life: Arc<Lifecycle>,
    pub metrics: PrometheusHandle,
    /// There once the model is loaded.
    pub served: OnceLock<Served>,
}

/// What requests need of the loaded model.
pub struct Served {
    pub tokenizer: TextTokenizer,
    pub card: Card,
    /// Numbers in a vector.
    pub width: usize,
    pub engine: Encoder,
}

impl App {
    /// The loaded model.
    pub fn served(&self) -> Result<&Served, ApiError> {
        self.served
            .get()
            .ok_or_else(|| ApiError::not_ready(word(WorkerState::Warming)))
    }

    /// Requests that wait for their batch.
    pub fn waiting(&self) -> usize {
        self.served
            .get()
            .map_or(0, |served| served.engine.waiting())
    }

    pub fn gauges(&self) -> Gauges {
        Gauges {
            slots: self.admission.capacity().requests,
            busy: self.admission.busy(),
            queue: self.waiting(),
            state: self.life.state(),
        }
    }
}

impl Served {
    /// What an embedding model's vectors are scaled to; a refusal of any other model.
    pub fn scaling(&self) -> Result<Scaling, ApiError> {
        match &self.card.task {
            Task::Embedding { scaling, .. } => Ok(*scaling),
            _ => Err(self.wrong_task("an embedding model")),
        }
    }

    /// The labels that a model scores; a refusal of an embedding model.
    pub fn labels(&self) -> Result<&[String], ApiError> {
        match &self.card.task {
            Task::Classification { labels } => Ok(labels),
            Task::Reranking { label } => Ok(std::slice::from_ref(label)),
            Task::Embedding { .. } => Err(self.wrong_task("a classifier")),
        }
    }

    /// A refusal of any model but a reranker.
    pub fn reranking(&self) -> Result<(), ApiError> {
        match &self.card.task {
            Task::Reranking { .. } => Ok(()),
            _ => Err(self.wrong_task("a reranker")),
        }
    }

    /// The text that is put before others: the one of this name, or the model's default.
    pub fn prompt(&self, name: Option<&str>) -> Result<&str, ApiError> {
        let unknown =
            |message: String| Err(ApiError::param(Fault::Invalid, "prompt_name", message));
        match (&self.card.task, name) {
            (Task::Embedding { prompts, .. }, name) => prompts.named(name).or_else(unknown),
            (_, None) => Ok(""),
            (_, Some(_)) => unknown("this model has no prompts".to_owned()),
        }
    }

    fn wrong_task(&self, wanted: &str) -> ApiError {
        let is = match &self.card.task {
            Task::Embedding { .. } => "an embedding model: use /v1/embeddings or /embed",
            Task::Classification { .. } => "a classifier: use /predict",
            Task::Reranking { .. } => "a reranker: use /v1/rerank or /rerank",
        };
        let message = format!("This route needs {wanted}; the model served here is {is}");
        ApiError::new(Fault::WrongTask, message)
    }
}

/// The state in a sentence.
pub fn word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Warming => "warming up",
        WorkerState::Ready => "ready",
        WorkerState::Draining => "draining",
    }
}
