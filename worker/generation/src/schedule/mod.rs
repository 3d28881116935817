//! Which tokens of which sequences are computed together.
//!
//! A step computes one token of every sequence that answers, and besides a bounded number of
//! prompts' tokens: so answers go on while a long prompt is read, and a short one is soon read.
//! A sequence enters when pages for its longest answer are free; it never runs out of memory.
//!
//! This is arithmetic over its arguments: it knows no clock, no thread and no channel.

mod sequence;

use std::collections::VecDeque;

pub use sequence::{Delta, Finish, Scored, Task};

use crate::pages::Pages;
use crate::tokens::Tokenizer;
use sequence::Sequence;

/// What a step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that are computed together.
    pub sequences: usize,
    /// Tokens of prompts that are read in one step.
    pub step_tokens: usize,
    /// Pages of the cache.
    pub pages: usize,
    /// Tokens of a page.
    pub page_tokens: usize,
}

/// Tokens of one sequence that are computed in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub tokens: &'a [u32],
    /// The place of the first.
    pub start: usize,
    /// All pages of the sequence.
    pub pages: &'a [u32],
    pub wanted: Wanted,
}

/// Behind which tokens of a chunk logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    None,
    Last,
    All,
}

/// Computes chunks.
pub trait Network {
    type Error;

    /// Logits of a row.
    fn vocabulary(&self) -> usize;

    /// Computes all chunks, and writes the rows that are wanted one behind the other.
    fn step(&mut self, chunks: &[Chunk], logits: &mut [f32]) -> Result<(), Self::Error>;
}

/// What has been computed since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub steps: u64,
    pub prompt_tokens: u64,
    pub reused_tokens: u64,
    pub answer_tokens: u64,
}

/// All sequences, those that wait included.
pub struct Scheduler {
    limits: Limits,
    pages: Pages,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    totals: Totals,
    logits: Vec<f32>,
}

/// One chunk of a step, by the index of its sequence.
#[derive(Clone, Copy)]
struct Part {
    index: usize,
    tokens: usize,
    wanted: Wanted,
}

impl Part {
    fn rows(&self) -> usize {
        match self.wanted {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::All => self.tokens,
        }
    }
}

impl Scheduler {
    pub fn new(limits: Limits) -> Scheduler {
        Scheduler {
            limits,
            pages: Pages::new(limits.pages, limits.page_tokens),
            waiting: VecDeque::new(),
            running: Vec::new(),
            totals: Totals::default(),
            logits: Vec::new(),
        }
    }

    /// Whether pages for a sequence of this length exist at all.
    pub fn can_hold(&self, length: usize) -> bool {
        length.div_ceil(self.limits.page_tokens) <= self.limits.pages
    }

    /// Takes a task under a number that no other has.
    pub fn add(&mut self, id: u64, task: Task) {
        self.waiting.push_back(Sequence::new(id, task));
    }

    /// Forgets a sequence; its pages are free at once.
    pub fn remove(&mut self, id: u64) {
        self.waiting.retain(|sequence| sequence.id != id);
        let index = self.running.iter().position(|sequence| sequence.id == id);
        if let Some(index) = index {
            self.leave(index);
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn running(&self) -> usize {
        self.running.len()
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Tokens of a prompt that were there already when its sequence entered.
    pub fn reused(&self, id: u64) -> Option<usize> {
        let sequence = self.running.iter().find(|sequence| sequence.id == id);
        sequence.map(|sequence| sequence.reused)
    }

    /// Tokens of a running sequence's prompt.
    pub fn prompt(&self, id: u64) -> Option<usize> {
        let sequence = self.running.iter().find(|sequence| sequence.id == id);
        sequence.map(|sequence| sequence.prompt)
    }

    /// Lets sequences in, in the order they came. Returns who entered.
    pub fn admit(&mut self) -> Vec<u64> {
        let mut entered = Vec::new();
        let mut index = 0;
        while index < self.waiting.len() && self.running.len() < self.limits.sequences {
            let group = self.waiting[index].group;
            let reads = |other: &Sequence| other.group == group && other.reads_prompt();
            if self.running.iter().any(reads) {
                index += 1;
                continue;
            }
            if !self.waiting[index].enter(&mut self.pages) {
                break;
            }
            if let Some(sequence) = self.waiting.remove(index) {
                self.totals.reused_tokens += sequence.reused as u64;
                entered.push(sequence.id);
                self.running.push(sequence);
            }
        }
        entered
    }

    /// Computes one step of those that were let in. Each sequence that got something is in the
    /// result once; those that finished are gone. After an error nothing has changed.
    pub fn step<N: Network>(
        &mut self,
        network: &mut N,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<(u64, Delta)>, N::Error> {
        let parts = self.plan();
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let width = network.vocabulary();
        let rows: usize = parts.iter().map(Part::rows).sum();
        let mut logits = std::mem::take(&mut self.logits);
        logits.resize(rows * width, 0.0);
        let chunks: Vec<Chunk> = (parts.iter()).map(|part| self.chunk(*part)).collect();
        network.step(&chunks, &mut logits)?;
        self.totals.steps += 1;
        let mut row = 0;
        let mut deltas = Vec::new();
        for part in &parts {
            let rows = &mut logits[row * width..(row + part.rows()) * width];
            row += part.rows();
            deltas.extend(self.took(*part, rows, width, tokenizer));
        }
        self.logits = logits;
        for (id, delta) in &deltas {
            if delta.finish.is_some() {
                self.remove(*id);
            }
        }
        Ok(deltas)
    }

    fn chunk(&self, part: Part) -> Chunk<'_> {
        let sequence = &self.running[part.index];
        Chunk {
            tokens: &sequence.tokens[sequence.computed..sequence.computed + part.tokens],
            start: sequence.computed,
            pages: &sequence.pages,
            wanted: part.wanted,
        }
    }

    fn plan(&self) -> Vec<Part> {
        let mut reading: Vec<usize> = Vec::new();
        let mut parts = Vec::new();
        for (index, sequence) in self.running.iter().enumerate() {
            match sequence.reads_prompt() {
                true => reading.push(index),
                false => parts.push(self.part(index, 1)),
            }
        }
        let left = |index: &usize| self.running[*index].prompt - self.running[*index].computed;
        // The shortest first, so that it soon answers; every other step the oldest, so that it is
        // read whatever comes.
        if !self.totals.steps.is_multiple_of(2) {
            reading.sort_by_key(left);
        }
        let mut budget = self.limits.step_tokens;
        for index in reading {
            let tokens = left(&index).min(budget);
            if tokens == 0 {
                break;
            }
            budget -= tokens;
            parts.push(self.part(index, tokens));
        }
        parts
    }

    fn part(&self, index: usize, tokens: usize) -> Part {
        let sequence = &self.running[index];
        let last = sequence.computed + tokens == sequence.tokens.len();
        let wanted = match (sequence.scores_prompt(), last) {
            (true, _) => Wanted::All,
            (false, true) => Wanted::Last,
            (false, false) => Wanted::None,
        };
        Part {
            index,
            tokens,
            wanted,
        }
    }

    /// Counts a part as computed, and chooses a token if it was the last of its sequence.
    fn took(
        &mut self,
        part: Part,
        rows: &mut [f32],
        width: usize,
        tokenizer: &Tokenizer,
    ) -> Option<(u64, Delta)> {
        let sequence = &mut self.running[part.index];
        let prompt = sequence.reads_prompt();
        let mut scored = Vec::new();
        if part.wanted == Wanted::All {
            for (index, row) in rows.chunks_exact(width).enumerate() {
                let place = sequence.computed + index + 1;
                scored.extend(sequence.score_prompt(place, row));
            }
        }
        sequence.advance(part.tokens, &mut self.pages);
        if prompt {
            self.totals.prompt_tokens += part.tokens as u64;
        }
        let id = sequence.id;
        if sequence.computed < sequence.tokens.len() {
            return (!scored.is_empty()).then(|| {
                let delta = Delta {
                    prompt_scored: scored,
                    ..Delta::default()
                };
                (id, delta)
            });
        }
        let last = rows.len().checked_sub(width)?;
        let mut delta = sequence.choose(&mut rows[last..], tokenizer);
        delta.prompt_scored = scored;
        self.totals.answer_tokens += delta.tokens.len() as u64;
        Some((id, delta))
    }

    fn leave(&mut self, index: usize) {
        let sequence = self.running.remove(index);
        self.pages.give_back(&sequence.pages);
    }
}
