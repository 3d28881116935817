//! What routes share: one value, made at start, handed to each of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tidegate_agent::{Admission, Lifecycle};
use tidegate_config::Tokens;
use tidegate_generation::{ChatTemplate, Tokenizer};
use tidegate_protocol::WorkerState;
use tidegate_seq2seq::Limits;
use tokio::sync::Semaphore;

use super::error::{ApiError, Fault};
use super::grammars::Grammars;
use super::memory::{Pool, Share, Short};
use crate::config::LimitsConfig;
use crate::engine::Engine as _;
use crate::engine::decoder::Decoder;
use crate::engine::encoder::Encoder;
use crate::engine::seq2seq::Seq2Seq;
use crate::metrics::{self, Exposition, Gauges};
use crate::models::{Card, Scaling, Scoring, Task, TextTokenizer, Want, seq2seq};

pub struct App {
    /// The model id that clients name.
    pub name: String,
    /// Answers that were given a name.
    pub answers: AtomicU64,
    /// Unix seconds of the start.
    pub created: u64,
    pub limits: LimitsConfig,
    pub tokens: Option<Tokens>,
    pub admission: Arc<Admission>,
    pub life: Arc<Lifecycle>,
    /// Bodies of all requests.
    pub bodies: Pool,
    /// Results of all requests, until they are written.
    pub results: Pool,
    /// One for each body that may be read into tokens at once.
    pub readers: Arc<Semaphore>,
    pub metrics: Exposition,
    /// There once the model is loaded.
    pub served: OnceLock<Served>,
    /// There instead, once a decoder is loaded.
    pub generating: OnceLock<Generating>,
    /// There instead, once a sequence-to-sequence model is loaded.
    pub writing: OnceLock<Writing>,
}

/// What requests need of the loaded model.
pub struct Served {
    pub tokenizer: TextTokenizer,
    pub card: Card,
    /// Numbers in a vector.
    pub dimensions: usize,
    /// Numbers in a token's row.
    pub width: usize,
    pub engine: Encoder,
}

/// What requests need of a model that generates text.
pub struct Generating {
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
    pub engine: Decoder,
    /// Tokens of the longest prompt with its answer.
    pub context: usize,
    /// The longest answer to a request that does not say.
    pub answer_tokens: usize,
    /// What answers of a given form are held to.
    pub grammars: Arc<Grammars>,
}

/// What requests need of a sequence-to-sequence model.
pub struct Writing {
    pub tokenizer: TextTokenizer,
    pub prompts: seq2seq::Prompts,
    /// Tokens that end a text.
    pub ends: Vec<u32>,
    /// Tokens of the longest text.
    pub max_target: usize,
    pub limits: Limits,
    /// The longest translation of a request that does not say.
    pub answer_tokens: usize,
    pub engine: Seq2Seq,
}

impl Generating {
    pub fn new(
        tokenizer: Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        engine: Decoder,
        context: usize,
        answer_tokens: usize,
    ) -> Generating {
        Generating {
            grammars: Grammars::new(tokenizer.clone()),
            tokenizer,
            template,
            engine,
            context,
            answer_tokens,
        }
    }
}

impl App {
    /// The loaded model, if it is a decoder.
    pub fn generating(&self) -> Result<&Generating, ApiError> {
        self.generating
            .get()
            .ok_or_else(|| self.not_for("a model that generates text"))
    }

    /// The loaded model, if it is a sequence-to-sequence model.
    pub fn writing(&self) -> Result<&Writing, ApiError> {
        self.writing
            .get()
            .ok_or_else(|| self.not_for("a sequence-to-sequence model such as T5"))
    }

    /// Why a route that needs `wanted` is not served: the model is another, or not loaded yet.
    fn not_for(&self, wanted: &str) -> ApiError {
        let is = if let Some(served) = self.served.get() {
            served.purpose()
        } else if self.generating.get().is_some() {
            "a model that generates text: use /v1/chat/completions, /v1/completions or /generate"
        } else if self.writing.get().is_some() {
            "a sequence-to-sequence model: use /v1/completions, /generate or /translate"
        } else {
            return ApiError::not_ready(word(WorkerState::Warming));
        };
        let message = format!("This route needs {wanted}; the model served here is {is}");
        ApiError::new(Fault::WrongTask, message)
    }

    /// Ends the engine's threads once nothing waits.
    pub fn close(&self) {
        if let Some(served) = self.served.get() {
            served.engine.close();
        }
        if let Some(generating) = self.generating.get() {
            generating.engine.close();
        }
        if let Some(writing) = self.writing.get() {
            writing.engine.close();
        }
    }

    /// The loaded model.
    pub fn served(&self) -> Result<&Served, ApiError> {
        self.served
            .get()
            .ok_or_else(|| self.not_for("an embedding model, a classifier or a re-ranker"))
    }

    /// A name for an answer that no other of this worker has.
    pub fn next_id(&self) -> String {
        let count = self.answers.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{count:x}", self.created)
    }

    /// Memory for so many numbers of a request's results.
    pub fn take_results(&self, numbers: usize) -> Result<Share, ApiError> {
        self.results
            .take(numbers.saturating_mul(size_of::<f32>()))
            .map_err(|short| match short {
                Short::Now => ApiError::full(self.admission.capacity()),
                Short::Ever => {
                    let most = self.results.bytes() / size_of::<f32>();
                    let message =
                        format!("The answer would have {numbers} numbers, at most {most} are sent");
                    ApiError::new(Fault::TooMany, message)
                }
            })
    }

    /// Requests that wait for their batch.
    pub fn waiting(&self) -> usize {
        let encoder = (self.served.get()).map_or(0, |served| served.engine.waiting());
        let decoder = (self.generating.get()).map_or(0, |generating| generating.engine.waiting());
        let writing = (self.writing.get()).map_or(0, |writing| writing.engine.waiting());
        encoder + decoder + writing
    }

    pub fn gauges(&self) -> Gauges {
        let decoder = (self.generating.get()).map(|generating| generating.engine.numbers());
        let seq2seq = (self.writing.get()).map(|writing| writing.engine.numbers());
        if let Some(numbers) = decoder.or(seq2seq) {
            metrics::generation(numbers.running(), numbers.waiting(), numbers.cache_use());
        }
        Gauges {
            slots: self.admission.capacity().requests,
            busy: self.admission.busy(),
            queue: self.waiting(),
            state: self.life.state(),
        }
    }
}

impl Served {
    /// Numbers in the results of so many texts and tokens.
    pub fn numbers(&self, want: Want, texts: usize, tokens: usize) -> usize {
        let (rows, width) = match (want, &self.card.task) {
            (Want::Tokens, _) => (tokens, self.width),
            (Want::Result, Task::Classification { labels, .. }) => (texts, labels.len()),
            (Want::Result, Task::Reranking { .. }) => (texts, 1),
            (Want::Result, Task::Embedding { .. }) => (texts, self.dimensions),
        };
        rows.saturating_mul(width)
    }

    /// What an embedding model's vectors are scaled to; a refusal of any other model.
    pub fn scaling(&self) -> Result<Scaling, ApiError> {
        match &self.card.task {
            Task::Embedding { scaling, .. } => Ok(*scaling),
            _ => Err(self.wrong_task("an embedding model")),
        }
    }

    /// The labels that a model scores, and how; a refusal of an embedding model.
    pub fn labels(&self) -> Result<(&[String], Scoring), ApiError> {
        match &self.card.task {
            Task::Classification { labels, scoring } => Ok((labels, *scoring)),
            Task::Reranking { label } => Ok((std::slice::from_ref(label), Scoring::Each)),
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

    fn purpose(&self) -> &'static str {
        match &self.card.task {
            Task::Embedding { .. } => "an embedding model: use /v1/embeddings or /embed",
            Task::Classification { .. } => "a classifier: use /predict",
            Task::Reranking { .. } => "a reranker: use /v1/rerank or /rerank",
        }
    }

    fn wrong_task(&self, wanted: &str) -> ApiError {
        let is = self.purpose();
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
