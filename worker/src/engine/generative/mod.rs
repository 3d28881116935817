//! Engines of models that write texts: one thread, many answers at once, a token of each at a time.
//!
//! [`turn`] is that thread: it takes requests, drops those that nobody waits for, has the model
//! compute a step, and hands on what came of it. A [`Model`] is a scheduler with its network; the
//! kernels' team computes each step on all cores.

mod numbers;
mod turn;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tidegate_agent::Capacity;
use tokio::sync::mpsc;

pub use self::numbers::Numbers;
use self::turn::{Job, Turn};
use super::{Deaths, Engine, Event, Request};

/// Events of an answer beside its tokens: that it began, that it ended, one without a token.
const EVENTS: usize = 8;

/// Chooses which answers a step computes, and computes them.
pub trait Model: Send + 'static {
    /// One answer that is asked for.
    type Task: Task;
    /// What a step adds to an answer.
    type Delta: Delta;

    /// The most that it holds at once.
    fn capacity(&self) -> Capacity;

    /// Pages of its caches.
    fn pages(&self) -> usize;

    /// # Errors
    /// The answer could never be computed.
    fn add(&mut self, sequence: u64, task: Self::Task) -> Result<(), String>;

    /// Forgets a sequence, whether it has ended or not.
    fn remove(&mut self, sequence: u64);

    /// Nothing waits and nothing is computed.
    fn is_idle(&self) -> bool;

    /// Begins what there is room for.
    fn admit(&mut self) -> Vec<Admitted>;

    /// Computes a token of each answer that is ready for one.
    ///
    /// # Errors
    /// The step failed, and with it every answer under way.
    fn step(&mut self) -> Result<Vec<(u64, Self::Delta)>, String>;

    fn load(&self) -> Load;
}

pub trait Task: Send + 'static {
    /// Tokens that are read.
    fn prompt(&self) -> usize;

    /// Tokens that are written at most.
    fn most(&self) -> usize;
}

pub trait Delta: Default + Send + 'static {
    /// New tokens.
    fn written(&self) -> usize;

    fn end(&self) -> Option<End>;
}

/// How an answer ended.
pub enum End {
    /// Because of this, in OpenAI's words: "stop" or "length".
    Finished(&'static str),
    Failed(String),
}

/// A sequence that is begun.
pub struct Admitted {
    pub sequence: u64,
    /// What is known of its prompt, if anything can be.
    pub prompt: Option<Prompt>,
}

pub struct Prompt {
    pub tokens: usize,
    /// Tokens that are in the cache since an earlier request.
    pub reused: usize,
}

/// What a model does now, and has done since it began.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// Sequences that are computed.
    pub running: usize,
    pub pages_used: usize,
    /// Tokens read and written since the start.
    pub read: u64,
    pub written: u64,
}

/// A part of one of a request's answers.
#[derive(Debug, PartialEq)]
pub struct Piece<D> {
    /// Which of the tasks it belongs to.
    pub choice: usize,
    /// Tokens of the prompt that were known from an earlier request.
    pub reused: usize,
    pub delta: D,
}

/// A model with its thread.
pub struct Generative<M: Model> {
    jobs: Mutex<Option<Sender<Job<M>>>>,
    numbers: Arc<Numbers>,
    capacity: Capacity,
}

impl<M: Model> Generative<M> {
    /// Starts the thread; it ends when the engine is closed and nothing is left to do.
    pub fn start(name: &str, model: M, deaths: &Deaths) -> std::io::Result<Generative<M>> {
        let (sender, jobs) = channel();
        let numbers = Arc::new(Numbers::new(model.pages()));
        let capacity = model.capacity();
        let turn = Turn::new(model, jobs, numbers.clone());
        deaths.spawn(name.to_owned(), move || turn.run())?;
        Ok(Generative {
            jobs: Mutex::new(Some(sender)),
            numbers,
            capacity,
        })
    }

    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Ends the thread once nothing is left to do.
    pub fn close(&self) {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

impl<M: Model> Engine for Generative<M> {
    /// A task for each answer, over one prompt or several.
    type Input = Vec<M::Task>;
    type Output = Piece<M::Delta>;

    fn submit(&self, request: Request<Self::Input>) -> mpsc::Receiver<Event<Self::Output>> {
        let tasks = request.input;
        let tokens: usize = tasks.iter().map(|task| task.most() + task.prompt()).sum();
        // Room for every event there can be: the thread never waits for a reader.
        let (events, receiver) = mpsc::channel(tokens + EVENTS * tasks.len().max(1));
        self.numbers.submitted();
        let job = Job::new(
            tasks,
            events,
            request.deadline,
            request.slot,
            Instant::now(),
        );
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed engine drops the job, and its reader sees the end of the channel.
        if let Some(jobs) = &*jobs {
            let _ = jobs.send(job);
        }
        receiver
    }

    fn capacity(&self, requests: u32) -> Capacity {
        Capacity {
            requests: requests.min(self.capacity.requests),
            tokens: self.capacity.tokens,
        }
    }

    fn waiting(&self) -> usize {
        self.numbers.waiting()
    }
}
