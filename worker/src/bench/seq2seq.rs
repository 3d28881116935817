//! Sequence-to-sequence models: tokens a second of one text, of eight together, and of all
//! inputs; also the texts themselves, for `compare`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_kernels::PAGE_TOKENS;
use tidegate_seq2seq::{Limits, Scheduler, Search, Task, Words};

use super::{BenchArgs, BenchError, Figures};
use crate::engine::seq2seq::Network;
use crate::measure::{Input, Inputs, MeasureError, p50_and_p99_ms};
use crate::models::seq2seq::{self, Opened};
use crate::models::{ModelError, Overlong, Text, TextTokenizer};

/// Texts that are computed together.
const TOGETHER: usize = 8;

/// Tokens of the longest text that is made.
const MOST_TOKENS: usize = 128;

/// Tokens of the longest input; longer ones are cut.
const MOST_READ: usize = 512;

/// Inputs that are timed one by one.
const ALONE: usize = 50;

/// Tokens are those that are generated; those that are read are not counted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Speed {
    /// One text after another.
    pub decode_tokens_per_second: f64,
    /// Eight texts at once.
    pub batched_decode_tokens_per_second: f64,
    pub items_per_second: f64,
}

/// A model with what makes its texts.
pub struct Bench {
    network: Network,
    tokenizer: TextTokenizer,
    words: Words,
    path: PathBuf,
    precision: &'static str,
    threads: usize,
    model_bytes: u64,
}

/// How long texts are.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// To their own end.
    Natural,
    /// Exactly so many tokens, whatever they are; at most [`MOST_TOKENS`].
    Exactly(usize),
}

/// The figures, and the milliseconds from opening the files to the first result.
pub fn run(
    args: &BenchArgs,
    inputs: &Inputs,
    threads: usize,
) -> Result<(Figures, f64), BenchError> {
    let length = match args.write {
        None => Length::Natural,
        Some(tokens @ 1..=MOST_TOKENS) => Length::Exactly(tokens),
        Some(asked) => {
            let limit = MOST_TOKENS;
            return Err(BenchError::Write { asked, limit });
        }
    };
    let begun = Instant::now();
    let mut bench = Bench::new(&args.model, seq2seq::open(&args.model)?, threads)?;
    bench.texts(&inputs.first(1))?;
    let load_ms = begun.elapsed().as_secs_f64() * 1e3;
    Ok((bench.measure(inputs, length, args.seconds)?, load_ms))
}

impl Bench {
    pub fn new(path: &Path, opened: Opened, threads: usize) -> Result<Bench, MeasureError> {
        let quantized = opened.package.is_some();
        let (marks, model_bytes) = (opened.marks(), opened.weights.file_bytes());
        let loaded = opened.load(MOST_READ, MOST_TOKENS)?;
        let network = Network::new(loaded.network, quantized, &limits(), threads);
        let network = network.map_err(|error| failed(path, error.to_string()))?;
        Ok(Bench {
            network,
            tokenizer: loaded.tokenizer,
            words: Words {
                start: marks.start,
                ends: marks.ends,
            },
            path: path.to_owned(),
            precision: if quantized { "int8" } else { "float32" },
            threads,
            model_bytes,
        })
    }

    /// The texts that are made of all inputs, greedily.
    pub fn texts(&mut self, inputs: &Inputs) -> Result<Vec<String>, MeasureError> {
        let tasks = self.tasks(inputs, Length::Natural)?;
        let tokens = self.compute(&tasks, TOGETHER)?;
        let text = |(number, tokens): (usize, &Vec<u32>)| {
            let text = self.tokenizer.text(tokens);
            text.map_err(|error| MeasureError::Tokenize { number, error })
        };
        tokens.iter().enumerate().map(text).collect()
    }

    /// Tokens a second of one text and of eight, each for half of the seconds.
    pub fn measure(
        &mut self,
        inputs: &Inputs,
        length: Length,
        seconds: f64,
    ) -> Result<Figures, MeasureError> {
        let tasks = self.tasks(inputs, length)?;
        let limit = Duration::try_from_secs_f64(seconds / 2.0).unwrap_or_default();
        self.compute(&tasks[..tasks.len().min(TOGETHER)], TOGETHER)?;
        let mut took = Vec::new();
        let (begun, mut written) = (Instant::now(), 0);
        for task in tasks.iter().cycle().take(ALONE.max(tasks.len())) {
            let started = Instant::now();
            written += self.compute(std::slice::from_ref(task), 1)?[0].len();
            took.push(started.elapsed());
            if took.len() >= ALONE.min(tasks.len()) && begun.elapsed() > limit {
                break;
            }
        }
        let decode_tokens_per_second = written as f64 / begun.elapsed().as_secs_f64();
        let (p50_ms, p99_ms) = p50_and_p99_ms(took);
        let (begun, mut written, mut texts) = (Instant::now(), 0, 0);
        while texts == 0 || begun.elapsed() < limit {
            let made = self.compute(&tasks, TOGETHER)?;
            written += made.iter().map(Vec::len).sum::<usize>();
            texts += made.len();
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Figures {
            model: self.path.display().to_string(),
            task: "seq2seq",
            precision: self.precision,
            threads: self.threads,
            speed: super::Speed::Seq2Seq(Speed {
                decode_tokens_per_second,
                batched_decode_tokens_per_second: written as f64 / seconds,
                items_per_second: texts as f64 / seconds,
            }),
            p50_ms,
            p99_ms,
            model_bytes: self.model_bytes,
            weights_bytes: self.network.weights_bytes() as u64,
            process: None,
        })
    }

    fn tasks(&self, inputs: &Inputs, length: Length) -> Result<Vec<Task>, MeasureError> {
        let (max_tokens, ignore_end) = match length {
            Length::Natural => (MOST_TOKENS, false),
            Length::Exactly(tokens) => (tokens, true),
        };
        let task = |(number, input): (usize, &Input)| {
            let text = match input {
                Input::One(text) => text,
                Input::Pair(first, _) => first,
            };
            let read = self.tokenizer.encode(Text::One(text), Overlong::CutEnd);
            let read = read.map_err(|error| MeasureError::Tokenize { number, error })?;
            Ok(Task {
                source: read.ids,
                search: Search::Greedy,
                max_tokens,
                min_tokens: 0,
                ignore_end,
                scored: false,
            })
        };
        inputs.items.iter().enumerate().map(task).collect()
    }

    /// The tokens of each task's text, `together` at once.
    fn compute(&mut self, tasks: &[Task], together: usize) -> Result<Vec<Vec<u32>>, MeasureError> {
        let limits = Limits {
            targets: together,
            ..limits()
        };
        let mut scheduler = Scheduler::new(limits, self.words.clone());
        for (id, task) in tasks.iter().enumerate() {
            let added = scheduler.add(id as u64, task.clone());
            added.map_err(|_| failed(&self.path, "an input is too large".to_owned()))?;
        }
        let mut texts = vec![Vec::new(); tasks.len()];
        while !scheduler.is_idle() {
            scheduler.admit();
            let stepped = scheduler.step(&mut self.network);
            for (id, delta) in stepped.map_err(|error| failed(&self.path, error.to_string()))? {
                texts[id as usize].extend(delta.tokens);
            }
        }
        Ok(texts)
    }
}

fn limits() -> Limits {
    Limits {
        targets: TOGETHER,
        source_tokens: MOST_READ,
        source_pages: TOGETHER * MOST_READ.div_ceil(PAGE_TOKENS),
        target_pages: TOGETHER * MOST_TOKENS.div_ceil(PAGE_TOKENS),
        page_tokens: PAGE_TOKENS,
    }
}

fn failed(path: &Path, problem: String) -> MeasureError {
    MeasureError::Model(ModelError::Invalid {
        file: path.to_owned(),
        problem,
    })
}

impl fmt::Display for Speed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "generated    {:.0} tokens/s one text after another, {:.0} tokens/s and {:.1} texts/s eight at once",
            self.decode_tokens_per_second,
            self.batched_decode_tokens_per_second,
            self.items_per_second
        )
    }
}
