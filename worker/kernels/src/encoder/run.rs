//! A batch over threads.
//!
//! Chunks are independent, so threads take whole chunks in turn and never wait for each other. Only
//! where there are fewer chunks than threads, as with one text that somebody waits for, do they
//! share the rows of each chunk.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::Encoder;
use super::batch::{Batch, Chunk};
use super::layer::Share;
use super::workspace::{Memory, Workspace};
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::pool::{Pooling, normalize, pool};
use crate::quant::split;
use crate::team::{Barrier, Broken, Helper, Member, SharedRows, run_with};

/// Tokens that go through the layers together: enough to use each weight often, few enough for the
/// cache.
const CHUNK_TOKENS: usize = 192;

/// Rows that are worth a thread of their own.
const SHARE_ROWS: usize = 8;

/// What is wanted of each sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Its last hidden state: a row a token.
    Hidden,
    /// One row, as it is pooled: what a classification head works on.
    Pooled(Pooling),
    /// One row of length one.
    Embedding(Pooling),
}

/// Why a batch was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The batch does not fit the encoder, the workspaces or the output.
    Shape(ShapeError),
    /// A thread that shared the work failed, or could not be started.
    Broken,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(error) => error.fmt(f),
            Self::Broken => f.write_str("a thread that shared the batch failed"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<ShapeError> for EncodeError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

impl From<Broken> for EncodeError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

/// Threads that a batch of `tokens` tokens can keep busy, if each has a core: more would wait.
pub fn useful_threads(tokens: usize) -> usize {
    let shared = tokens.min(CHUNK_TOKENS).div_ceil(SHARE_ROWS);
    shared.max(tokens.div_ceil(CHUNK_TOKENS)).max(1)
}

impl Encoder {
    /// Encodes a batch on as many threads as there are workspaces, the caller's included; with one
    /// workspace on the caller's alone. `out` is one row for each token or sequence, see [`Output`], in
    /// the batch's order.
    ///
    /// # Errors
    /// There is no workspace or one made for another shape, a sequence is longer than the workspaces or
    /// [`Encoder::max_len`], an id or kind is outside its table, or `out` has another length.
    pub fn run(
        &self,
        batch: &Batch<'_>,
        output: Output,
        workspaces: &mut [Workspace],
        out: &mut [f32],
    ) -> Result<(), EncodeError> {
        let rows = if output == Output::Hidden {
            batch.tokens()
        } else {
            batch.len()
        };
        exactly("encoder output", rows * self.width(), out.len())?;
        at_least("workspaces", 1, workspaces.len())?;
        let fitting = workspaces
            .iter()
            .filter(|workspace| workspace.shape == self.shape());
        exactly(
            "workspaces made for such an encoder",
            workspaces.len(),
            fitting.count(),
        )?;
        let room = workspaces
            .iter()
            .map(|workspace| workspace.max_rows)
            .min()
            .unwrap_or(0);
        at_most(
            "tokens of a sequence",
            self.max_len().unwrap_or(room).min(room),
            batch.longest(),
        )?;
        let limit = CHUNK_TOKENS.min(room);
        let mut jobs = Jobs {
            encoder: self,
            output,
            chunks: batch.chunks(limit),
            out,
        };
        if batch.chunks(limit).count() >= workspaces.len() {
            return jobs.spread(workspaces);
        }
        while let Some(job) = jobs.next() {
            job.share(workspaces)?;
        }
        Ok(())
    }
}

/// The batch's chunks, each with its part of the output.
struct Jobs<'a, I> {
    encoder: &'a Encoder,
    output: Output,
    chunks: I,
    out: &'a mut [f32],
}

impl<'a, I: Iterator<Item = Chunk<'a>> + Send> Jobs<'a, I> {
    fn next(&mut self) -> Option<Job<'a>> {
        let chunk = self.chunks.next()?;
        let rows = if self.output == Output::Hidden {
            chunk.rows()
        } else {
            chunk.sequences.len()
        };
        let out = self.out.split_off_mut(..rows * self.encoder.width())?;
        let task = Task {
            encoder: self.encoder,
            output: self.output,
            chunk,
        };
        Some(Job { task, out })
    }

    /// Every thread takes the next chunk when it is done with its last.
    fn spread(self, workspaces: &mut [Workspace]) -> Result<(), EncodeError> {
        let jobs = Mutex::new(self);
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = |memory: &mut Memory| -> Result<(), EncodeError> {
            while let Some(job) = next() {
                job.alone(memory)?;
            }
            Ok(())
        };
        match workspaces {
            // What threads need would be an allocation.
            [workspace] => work(&mut workspace.memory),
            workspaces => {
                let (memories, mut helpers) = members(workspaces)?;
                fork(&mut helpers, memories.into_iter(), |memory, _| work(memory))
            }
        }
    }
}

/// The memory of each workspace, and the threads of all but the first, whose is the caller's.
fn members(
    workspaces: &mut [Workspace],
) -> Result<(Vec<&mut Memory>, Vec<&mut Helper>), EncodeError> {
    let mut memories = Vec::with_capacity(workspaces.len());
    let mut helpers = Vec::with_capacity(workspaces.len());
    let mut workspaces = workspaces.iter_mut();
    memories.extend(workspaces.next().map(|first| &mut first.memory));
    for workspace in workspaces {
        let (memory, helper) = workspace.with_helper()?;
        memories.push(memory);
        helpers.push(helper);
    }
    Ok((memories, helpers))
}

/// Calls `work` with each item: with the first on this thread, with each other on a helper's.
fn fork<T: Send>(
    helpers: &mut [&mut Helper],
    items: impl Iterator<Item = T>,
    work: impl Fn(T, Member<'_>) -> Result<(), EncodeError> + Sync,
) -> Result<(), EncodeError> {
    let items: Vec<_> = items.map(|item| Mutex::new(Some(item))).collect();
    run_with(helpers, |member| {
        let mut item = items[member.index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        item.take().map_or(Ok(()), |item| work(item, member))
    })
}

/// One chunk and where its result goes.
struct Job<'a> {
    task: Task<'a>,
    out: &'a mut [f32],
}

struct Task<'a> {
    encoder: &'a Encoder,
    output: Output,
    chunk: Chunk<'a>,
}

impl Job<'_> {
    /// Computes the chunk, its rows shared between the workspaces as far as that is worth it.
    fn share(self, workspaces: &mut [Workspace]) -> Result<(), EncodeError> {
        let members = workspaces
            .len()
            .min(self.task.chunk.rows().div_ceil(SHARE_ROWS));
        match &mut workspaces[..members] {
            [] => Ok(()),
            [workspace] => self.alone(&mut workspace.memory),
            workspaces => self.together(workspaces),
        }
    }

    fn alone(self, memory: &mut Memory) -> Result<(), EncodeError> {
        let qkv = SharedRows::new(&mut memory.qkv);
        let barrier = Barrier::new(1);
        let rows = 0..self.task.chunk.rows();
        let share = self.task.part(rows, [qkv; 2], &barrier);
        self.task.finish(share.run(&mut memory.own)?, self.out)
    }

    fn together(self, workspaces: &mut [Workspace]) -> Result<(), EncodeError> {
        let Self { task, out } = self;
        let ranges = split(task.chunk.rows(), workspaces.len(), SHARE_ROWS);
        let (memories, mut helpers) = members(workspaces)?;
        let (buffers, own): (Vec<_>, Vec<_>) = memories
            .into_iter()
            .map(|memory| (SharedRows::new(&mut memory.qkv), &mut memory.own))
            .unzip();
        let qkv = [buffers[0], buffers[1]];
        // The first member also finishes.
        let outs = std::iter::once(Some(out)).chain(std::iter::repeat_with(|| None));
        let items = ranges.zip(own).zip(outs);
        fork(&mut helpers, items, |((rows, own), out), member| {
            let share = task.part(rows, qkv, member.barrier);
            let hidden = share.run(own)?;
            out.map_or(Ok(()), |out| task.finish(hidden, out))
        })
    }
}

impl Task<'_> {
    fn part<'a>(
        &'a self,
        rows: Range<usize>,
        qkv: [SharedRows<'a>; 2],
        barrier: &'a Barrier,
    ) -> Share<'a> {
        Share {
            encoder: self.encoder,
            chunk: &self.chunk,
            rows,
            qkv,
            barrier,
        }
    }

    /// Turns the chunk's last hidden state into what is wanted.
    fn finish(&self, hidden: &[f32], out: &mut [f32]) -> Result<(), EncodeError> {
        let (isa, width) = (self.encoder.parts.isa, self.encoder.width());
        let (pooling, unit) = match self.output {
            Output::Hidden => {
                out.copy_from_slice(hidden);
                return Ok(());
            }
            Output::Pooled(pooling) => (pooling, false),
            Output::Embedding(pooling) => (pooling, true),
        };
        for (rows, out) in self.chunk.row_ranges().zip(out.chunks_exact_mut(width)) {
            pool(
                isa,
                pooling,
                &hidden[rows.start * width..rows.end * width],
                out,
            )?;
            if unit {
                normalize(isa, out);
            }
        }
        Ok(())
    }
}
