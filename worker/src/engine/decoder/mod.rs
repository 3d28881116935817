//! The engine of decoders: one thread, many answers at once, a token at a time.
//!
//! [`turn`] is that thread: it takes requests, drops those that nobody waits for, lets
//! tidegate-generation's scheduler compute a step, and hands on what came of it. The kernels' team
//! computes each step on all cores.

mod network;
mod plan;
mod turn;

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tidegate_agent::Capacity;
use tidegate_generation::{Delta, Limits, Task, Tokenizer};
use tokio::sync::mpsc;

pub use self::network::Network;
pub use self::plan::Plan;
use self::turn::{Job, Turn};
use super::numbers::Numbers;
use super::{Deaths, Engine, Event, Request};

/// Events of a request beside its tokens: that it began, that it ended, one a choice that ends
/// without a token.
const EVENTS: usize = 8;

/// A decoder with its thread.
pub struct Decoder {
    jobs: Mutex<Option<Sender<Job>>>,
    numbers: Arc<Numbers>,
    limits: Limits,
}

/// The answers that a request asks for: one task each, over one prompt or several.
pub struct Answers {
    pub tasks: Vec<Task>,
}

/// A part of one of a request's answers.
#[derive(Debug, PartialEq)]
pub struct Piece {
    /// Which of the tasks it belongs to.
    pub choice: usize,
    /// Tokens of the prompt that were known from an earlier request.
    pub reused: usize,
    pub delta: Delta,
}

impl Decoder {
    /// Starts the thread; it ends when the engine is closed and nothing is left to do.
    pub fn start(
        network: Network,
        tokenizer: Arc<Tokenizer>,
        limits: Limits,
        deaths: &Deaths,
    ) -> std::io::Result<(Decoder, JoinHandle<()>)> {
        let (sender, jobs) = channel();
        let numbers = Arc::new(Numbers::new(limits.pages));
        let turn = Turn::new(network, tokenizer, limits, jobs, numbers.clone());
        let thread = deaths.spawn("decoder".to_owned(), move || turn.run())?;
        let decoder = Decoder {
            jobs: Mutex::new(Some(sender)),
            numbers,
            limits,
        };
        Ok((decoder, thread))
    }

    /// Tokens that all sequences together can have.
    pub fn cache_tokens(&self) -> usize {
        self.limits.pages * self.limits.page_tokens
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

impl Engine for Decoder {
    type Input = Answers;
    type Output = Piece;

    fn submit(&self, request: Request<Answers>) -> mpsc::Receiver<Event<Piece>> {
        let tasks = request.input.tasks;
        let tokens: usize = tasks
            .iter()
            .map(|task| task.max_tokens + task.prompt.len())
            .sum();
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
        let sequences = u32::try_from(self.limits.sequences).unwrap_or(u32::MAX);
        Capacity {
            requests: requests.min(sequences),
            tokens: Some(self.cache_tokens() as u64),
        }
    }

    fn waiting(&self) -> usize {
        self.numbers.waiting()
    }
}
