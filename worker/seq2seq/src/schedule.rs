//! Which sources are encoded and which targets' tokens are computed together.
//!
//! A step encodes a bounded number of tokens of sources that have just entered, then computes one
//! token of every hypothesis of every target. A request enters when pages for its source and for its
//! longest text are free; it never runs out of memory.

mod running;

use std::collections::VecDeque;

use crate::pool::Pool;
use crate::search::Search;
use running::Running;

/// What a step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Hypotheses of all targets together.
    pub targets: usize,
    /// Tokens of sources that are encoded in one step.
    pub source_tokens: usize,
    /// Pages of the cache of sources, and of targets.
    pub source_pages: usize,
    pub target_pages: usize,
    /// Tokens of a page.
    pub page_tokens: usize,
}

/// The tokens that have a meaning of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// What every target begins with.
    pub start: u32,
    /// What ends a text.
    pub ends: Vec<u32>,
}

/// A text to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// At least one token.
    pub source: Vec<u32>,
    pub search: Search,
    /// Tokens of the longest text, its end included; at least one.
    pub max_tokens: usize,
    /// It does not end before it has so many.
    pub min_tokens: usize,
    /// Whether what ends a text is a token like any other.
    pub ignore_end: bool,
    /// Whether the tokens' log-probabilities are wanted; a search over several hypotheses has none.
    pub scored: bool,
}

/// What came of a step for one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// New tokens. A search over several hypotheses has none before its end.
    pub tokens: Vec<u32>,
    /// Their log-probabilities, if they are wanted.
    pub logprobs: Vec<f32>,
    /// The score of a search over several hypotheses, at its end.
    pub score: Option<f32>,
    pub finish: Option<Finish>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    End,
    Length,
}

/// A source to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    pub tokens: &'a [u32],
    pub pages: &'a [u32],
}

/// A token of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub token: u32,
    pub position: usize,
    pub pages: &'a [u32],
    pub source: Source<'a>,
}

/// Computes.
pub trait Network {
    type Error;

    /// Logits of a row.
    fn vocabulary(&self) -> usize;

    /// Encodes sources into their pages.
    fn encode(&mut self, sources: &[Source<'_>]) -> Result<(), Self::Error>;

    /// Computes the next token of each target: a row of logits for each.
    fn step(&mut self, targets: &[Target<'_>], logits: &mut [f32]) -> Result<(), Self::Error>;

    /// Copies a page of the cache of targets.
    fn copy_page(&mut self, from: u32, to: u32) -> Result<(), Self::Error>;
}

/// What has been computed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub steps: u64,
    pub source_tokens: u64,
    /// Of texts, not of hypotheses.
    pub target_tokens: u64,
}

/// A task that can never enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// All tasks, those that wait included.
pub struct Scheduler {
    limits: Limits,
    words: Words,
    source_pages: Pool,
    target_pages: Pool,
    waiting: VecDeque<(u64, Task)>,
    /// Those that entered, in that order; the last ones may have to be encoded yet.
    running: Vec<Running>,
    encoded: usize,
    totals: Totals,
    logits: Vec<f32>,
}

impl Scheduler {
    pub fn new(limits: Limits, words: Words) -> Self {
        Self {
            source_pages: Pool::new(limits.source_pages),
            target_pages: Pool::new(limits.target_pages),
            limits,
            words,
            waiting: VecDeque::new(),
            running: Vec::new(),
            encoded: 0,
            totals: Totals::default(),
            logits: Vec::new(),
        }
    }

    /// Whether a task would ever enter.
    pub fn fits(limits: &Limits, task: &Task) -> bool {
        let (sources, targets) = pages(limits, task);
        let width = task.search.width();
        width <= limits.targets
            && task.source.len() <= limits.source_tokens
            && sources <= limits.source_pages
            && targets <= limits.target_pages
    }

    /// Takes a task; `id` is its name in what a step returns.
    pub fn add(&mut self, id: u64, task: Task) -> Result<(), TooLarge> {
        if !Self::fits(&self.limits, &task) || task.source.is_empty() {
            return Err(TooLarge);
        }
        self.waiting.push_back((id, task));
        Ok(())
    }

    /// Forgets a task.
    pub fn remove(&mut self, id: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        if let Some(at) = self.running.iter().position(|task| task.id == id) {
            self.leave(at);
        }
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Tasks that have entered.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Pages of both caches that are used or promised.
    pub fn pages_used(&self) -> usize {
        self.source_pages.used() + self.target_pages.used()
    }

    /// Lets tasks enter, in the order in which they came, as far as there is room, and returns their
    /// ids.
    pub fn admit(&mut self) -> Vec<u64> {
        let mut entered = Vec::new();
        while let Some((_, task)) = self.waiting.front() {
            let hypotheses: usize = self.running.iter().map(|task| task.width()).sum();
            let (sources, targets) = pages(&self.limits, task);
            if hypotheses + task.search.width() > self.limits.targets
                || !self.source_pages.promise(sources)
            {
                break;
            }
            if !self.target_pages.promise(targets) {
                self.source_pages.forget(sources);
                break;
            }
            let Some((id, task)) = self.waiting.pop_front() else {
                break;
            };
            let source = (0..sources).filter_map(|_| self.source_pages.take());
            let running = Running::new(id, task, source.collect(), targets, &self.words);
            self.running.push(running);
            entered.push(id);
        }
        entered
    }

    /// Encodes what has entered, and computes the next token of all that is encoded.
    ///
    /// # Errors
    /// The network failed: what was computed is lost, and tasks should be removed.
    pub fn step<N: Network>(&mut self, network: &mut N) -> Result<Vec<(u64, Delta)>, N::Error> {
        self.encode(network)?;
        if self.encoded == 0 {
            return Ok(Vec::new());
        }
        for task in &mut self.running[..self.encoded] {
            task.grow(&mut self.target_pages, self.limits.page_tokens);
        }
        let tasks = &self.running[..self.encoded];
        let targets: Vec<Target<'_>> = tasks.iter().flat_map(Running::targets).collect();
        let vocabulary = network.vocabulary();
        self.logits.resize(targets.len() * vocabulary, 0.0);
        network.step(&targets, &mut self.logits)?;
        self.totals.steps += 1;
        let mut rows = self.logits.as_slice();
        let mut deltas = Vec::new();
        for task in &mut self.running[..self.encoded] {
            let (own, others) = rows.split_at(task.hypotheses() * vocabulary);
            rows = others;
            let delta = task.advance(
                own,
                &mut self.target_pages,
                network,
                self.limits.page_tokens,
            )?;
            self.totals.target_tokens += delta.tokens.len() as u64;
            if delta != Delta::default() {
                deltas.push((task.id, delta));
            }
        }
        let finished = deltas.iter().filter(|(_, delta)| delta.finish.is_some());
        for (id, _) in finished {
            if let Some(at) = self.running.iter().position(|task| task.id == *id) {
                self.leave(at);
            }
        }
        Ok(deltas)
    }

    /// Encodes the next sources, as many as fit into one step.
    fn encode<N: Network>(&mut self, network: &mut N) -> Result<(), N::Error> {
        let mut tokens = 0;
        let fitting = |task: &&Running| {
            tokens += task.source().tokens.len();
            tokens <= self.limits.source_tokens
        };
        let new = self.running[self.encoded..].iter().take_while(fitting);
        let sources: Vec<Source<'_>> = new.map(Running::source).collect();
        if sources.is_empty() {
            return Ok(());
        }
        network.encode(&sources)?;
        let read: usize = sources.iter().map(|source| source.tokens.len()).sum();
        self.totals.source_tokens += read as u64;
        self.encoded += sources.len();
        Ok(())
    }

    fn leave(&mut self, at: usize) {
        let task = self.running.remove(at);
        self.encoded -= usize::from(at < self.encoded);
        task.leave(&mut self.source_pages, &mut self.target_pages);
    }
}

/// Pages of a task's source, and of its hypotheses when they are longest.
fn pages(limits: &Limits, task: &Task) -> (usize, usize) {
    let source = task.source.len().div_ceil(limits.page_tokens);
    let target = task.max_tokens.div_ceil(limits.page_tokens);
    (source, target * task.search.width())
}
