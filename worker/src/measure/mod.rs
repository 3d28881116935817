//! A model over texts, on some threads: the results, and how long they took. What `bench` and
//! `compare` have in common.

pub mod decoder;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tidegate_kernels::{Isa, normalize};

use crate::models::{
    Model, ModelError, Overlong, Scaling, Sequence, Task, Text, TokenizeError, Want, Workspace, hex,
};
use crate::threads;

/// What is measured with where no inputs are given: 512 passages, 45 tokens on average.
const SENTENCES: &str = include_str!("../sentences.txt");

/// Texts that a thread computes at once.
const BATCH_TEXTS: usize = 8;

#[derive(Debug, Error)]
pub enum MeasureError {
    #[error("{}: cannot be read: {error}", file.display())]
    Unreadable {
        file: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: expected a JSON array of texts or of pairs of texts: {error}", file.display())]
    NotTexts {
        file: PathBuf,
        error: serde_json::Error,
    },
    #[error("{}: there is no text in it", file.display())]
    NoTexts { file: PathBuf },
    #[error("input {}: {error}", number + 1)]
    Tokenize { number: usize, error: TokenizeError },
    #[error("all texts together have {tokens} tokens; a text of {wanted} cannot be made of them")]
    TooShort { tokens: usize, wanted: usize },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("a computing thread panicked")]
    Panicked,
}

/// One text, or two that are judged together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Input {
    One(String),
    Pair(String, String),
}

/// Texts to measure with.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub items: Vec<Input>,
    /// Of the items, each followed by a newline.
    pub sha256: String,
}

impl Inputs {
    /// Reads a JSON array of texts or pairs, or a text a line; without a file, the built-in
    /// sentences.
    pub fn read(file: Option<&Path>) -> Result<Inputs, MeasureError> {
        let Some(file) = file else {
            return Ok(Inputs::new(lines(SENTENCES)));
        };
        let text = std::fs::read_to_string(file).map_err(|error| MeasureError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        let items: Vec<Input> = match text.trim_start().starts_with('[') {
            true => serde_json::from_str(&text).map_err(|error| MeasureError::NotTexts {
                file: file.to_owned(),
                error,
            })?,
            false => lines(&text),
        };
        match items.is_empty() {
            true => Err(MeasureError::NoTexts {
                file: file.to_owned(),
            }),
            false => Ok(Inputs::new(items)),
        }
    }

    /// The first so many.
    pub fn first(&self, count: usize) -> Inputs {
        Inputs::new(self.items.iter().take(count).cloned().collect())
    }

    fn new(items: Vec<Input>) -> Inputs {
        let mut hash = Sha256::new();
        for item in &items {
            match item {
                Input::One(text) => hash.update(text),
                Input::Pair(first, second) => {
                    hash.update(first);
                    hash.update("\t");
                    hash.update(second);
                }
            }
            hash.update("\n");
        }
        Inputs {
            items,
            sha256: hex(hash),
        }
    }

    /// As a model for `task` reads them: in lines for a classifier or a reranker a tab parts a
    /// pair; a reranker judges nothing but pairs, so that single texts are each paired with the
    /// next.
    pub fn for_task(&self, task: &Task) -> Inputs {
        if matches!(task, Task::Embedding { .. }) {
            return self.clone();
        }
        let parted = Inputs {
            items: self.items.iter().map(Input::parted).collect(),
            sha256: self.sha256.clone(),
        };
        match task {
            Task::Reranking { .. } => parted.paired(),
            _ => parted,
        }
    }

    fn paired(self) -> Inputs {
        let texts: Option<Vec<&String>> = (self.items.iter())
            .map(|item| match item {
                Input::One(text) => Some(text),
                Input::Pair(..) => None,
            })
            .collect();
        let Some(texts) = texts else {
            return self;
        };
        let nexts = texts.iter().cycle().skip(1);
        let pairs = texts.iter().zip(nexts);
        let pair = |(a, b): (&&String, &&String)| Input::Pair((*a).clone(), (*b).clone());
        Inputs {
            items: pairs.map(pair).collect(),
            sha256: self.sha256.clone(),
        }
    }
}

fn lines(text: &str) -> Vec<Input> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| Input::One(line.to_owned())).collect()
}

impl Input {
    /// A pair, if a tab parts the text.
    fn parted(&self) -> Input {
        match self {
            Input::One(text) => match text.split_once('\t') {
                Some((first, second)) => Input::Pair(first.to_owned(), second.to_owned()),
                None => self.clone(),
            },
            Input::Pair(..) => self.clone(),
        }
    }

    /// The text, of a pair its first.
    pub fn first(&self) -> &str {
        match self {
            Input::One(text) | Input::Pair(text, _) => text,
        }
    }

    fn as_text(&self) -> Text<'_> {
        match self {
            Input::One(text) => Text::One(text),
            Input::Pair(first, second) => Text::Pair(first, second),
        }
    }
}

/// A model and what it computes with.
pub struct Engine {
    pub model: Model,
    workspaces: Vec<Workspace>,
}

/// What one pass over all inputs gave.
pub struct Pass {
    /// In the order of the inputs; vectors are normalised where the model's are.
    pub results: Vec<Vec<f32>>,
    pub tokens: usize,
    pub took: Duration,
}

impl Engine {
    pub fn new(model: Model, threads: usize) -> Engine {
        let workspaces = (0..threads).map(|_| model.network.workspace()).collect();
        Engine { model, workspaces }
    }

    pub fn threads(&self) -> usize {
        self.workspaces.len()
    }

    /// From text to results, over all threads, each with batches of its own. Long texts are cut.
    pub fn pass(&mut self, inputs: &[Input]) -> Result<Pass, MeasureError> {
        let begun = Instant::now();
        let next = AtomicUsize::new(0);
        let model = &self.model;
        let work = |workspace: &mut Workspace| -> Result<Vec<Batch>, MeasureError> {
            let mut done = Vec::new();
            loop {
                let first = next.fetch_add(BATCH_TEXTS, Ordering::Relaxed);
                let Some(items) = inputs.get(first..) else {
                    return Ok(done);
                };
                let items = &items[..items.len().min(BATCH_TEXTS)];
                done.push(batch(model, first, items, workspace)?);
            }
        };
        let batches = std::thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (self.workspaces.iter_mut())
                .map(|workspace| {
                    scope.spawn(move || {
                        threads::stay_on_this_one();
                        work(workspace)
                    })
                })
                .collect();
            let ended = threads.into_iter().map(|thread| {
                let done = thread.join();
                done.unwrap_or(Err(MeasureError::Panicked))
            });
            ended.collect::<Result<Vec<_>, _>>()
        })?;
        let took = begun.elapsed();
        let mut batches = batches.concat();
        batches.sort_by_key(|batch| batch.first);
        Ok(Pass {
            tokens: batches.iter().map(|batch| batch.tokens).sum(),
            results: batches
                .into_iter()
                .flat_map(|batch| batch.results)
                .collect(),
            took,
        })
    }

    /// How long each input takes alone, from text to result, on all threads together.
    pub fn latencies(&mut self, inputs: &[Input]) -> Result<Vec<Duration>, MeasureError> {
        let mut took = Vec::with_capacity(inputs.len());
        for (number, item) in inputs.iter().enumerate() {
            let begun = Instant::now();
            let sequence = encode(&self.model, number, item)?;
            self.compute(&[&sequence])?;
            took.push(begun.elapsed());
        }
        Ok(took)
    }

    /// How long one text of exactly `tokens` tokens takes, from token ids to result, `times` times
    /// over, each time another text cut from the inputs.
    pub fn latencies_at(
        &mut self,
        inputs: &[Input],
        tokens: usize,
        times: usize,
    ) -> Result<Vec<Duration>, MeasureError> {
        let mut ids = Vec::new();
        for (number, item) in inputs.iter().enumerate() {
            ids.extend(encode(&self.model, number, item)?.ids);
        }
        let Some(room) = ids.len().checked_sub(tokens) else {
            return Err(MeasureError::TooShort {
                tokens: ids.len(),
                wanted: tokens,
            });
        };
        let mut took = Vec::with_capacity(times);
        for time in 0..times {
            let first = time * tokens % (room + 1);
            let sequence = Sequence {
                ids: ids[first..first + tokens].to_vec(),
                kinds: Vec::new(),
            };
            let begun = Instant::now();
            self.compute(&[&sequence])?;
            took.push(begun.elapsed());
        }
        Ok(took)
    }

    fn compute(&mut self, sequences: &[&Sequence]) -> Result<Vec<Vec<f32>>, ModelError> {
        let network = &self.model.network;
        network.compute(sequences, Want::Result, &mut self.workspaces)
    }
}

/// The results of some neighbouring inputs.
#[derive(Clone)]
struct Batch {
    first: usize,
    tokens: usize,
    results: Vec<Vec<f32>>,
}

fn batch(
    model: &Model,
    first: usize,
    items: &[Input],
    workspace: &mut Workspace,
) -> Result<Batch, MeasureError> {
    let sequences = (first..).zip(items);
    let sequences = sequences.map(|(number, item)| encode(model, number, item));
    let sequences = sequences.collect::<Result<Vec<_>, _>>()?;
    let refs: Vec<&Sequence> = sequences.iter().collect();
    let workspace = std::slice::from_mut(workspace);
    let mut results = model.network.compute(&refs, Want::Result, workspace)?;
    if let Task::Embedding { scaling, .. } = &model.card.task
        && *scaling == Scaling::Unit
    {
        let isa = Isa::best();
        results.iter_mut().for_each(|vector| normalize(isa, vector));
    }
    Ok(Batch {
        first,
        tokens: sequences.iter().map(Sequence::len).sum(),
        results,
    })
}

/// As the model is served: its default prompt, if it has one, stands before a text.
fn encode(model: &Model, number: usize, item: &Input) -> Result<Sequence, MeasureError> {
    let prompt = match &model.card.task {
        Task::Embedding { prompts, .. } => prompts.named(None).unwrap_or_default(),
        Task::Classification { .. } | Task::Reranking { .. } => "",
    };
    let sequence = match item {
        Input::One(text) if !prompt.is_empty() => {
            let prompted = format!("{prompt}{text}");
            model
                .tokenizer
                .encode(Text::One(&prompted), Overlong::CutEnd)
        }
        item => model.tokenizer.encode(item.as_text(), Overlong::CutEnd),
    };
    sequence.map_err(|error| MeasureError::Tokenize { number, error })
}

/// The median and the 99th percentile in milliseconds; there is at least one duration.
pub fn p50_and_p99_ms(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let at = |share: f64| {
        let index = (share * took.len() as f64).ceil() as usize;
        let index = index.clamp(1, took.len().max(1)) - 1;
        took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    (at(0.50), at(0.99))
}
