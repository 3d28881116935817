//! The engine of models that make a text of a text: one thread, many texts at once, a token at a
//! time.
//!
//! [`turn`] is that thread: it takes requests, drops those that nobody waits for, lets
//! tidegate-seq2seq's scheduler compute a step, and hands on what came of it. The kernels' team
//! computes each step on all cores.

mod network;
mod plan;
mod turn;

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tidegate_agent::Capacity;
use tidegate_seq2seq::{Delta, Limits, Scheduler, Task, Words};
use tokio::sync::mpsc;

pub use self::network::{Network, NetworkError, PAGE};
pub use self::plan::{Plan, Sizes};
use self::turn::{Job, Turn};
use super::numbers::Numbers;
use super::{Deaths, Engine, Event, Request};

/// Events of a request beside its tokens: that it began, that it ended.
const EVENTS: usize = 4;

/// An encoder and its decoder with their thread.
pub struct Seq2Seq {
    jobs: Mutex<Option<Sender<Job>>>,
    numbers: Arc<Numbers>,
    limits: Limits,
}

/// The texts that a request asks for, one a task.
pub struct Texts {
    pub tasks: Vec<Task>,
}

/// A part of one of a request's texts.
#[derive(Debug, PartialEq)]
pub struct Piece {
    /// Which of the tasks it belongs to.
    pub choice: usize,
    pub delta: Delta,
}

impl Seq2Seq {
    /// Starts the thread; it ends when the engine is closed and nothing is left to do.
    pub fn start(
        network: Network,
        words: Words,
        limits: Limits,
        deaths: &Deaths,
    ) -> std::io::Result<(Seq2Seq, JoinHandle<()>)> {
        let (sender, jobs) = channel();
        let pages = limits.source_pages + limits.target_pages;
        let numbers = Arc::new(Numbers::new(pages));
        let turn = Turn::new(network, words, limits, jobs, numbers.clone());
        let thread = deaths.spawn("seq2seq".to_owned(), move || turn.run())?;
        let engine = Seq2Seq {
            jobs: Mutex::new(Some(sender)),
            numbers,
            limits,
        };
        Ok((engine, thread))
    }

    /// Whether a task can be computed at all.
    pub fn fits(&self, task: &Task) -> bool {
        Scheduler::fits(&self.limits, task)
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

impl Engine for Seq2Seq {
    type Input = Texts;
    type Output = Piece;

    fn submit(&self, request: Request<Texts>) -> mpsc::Receiver<Event<Piece>> {
        let tasks = request.input.tasks;
        let tokens: usize = tasks.iter().map(|task| task.max_tokens + EVENTS).sum();
        // Room for every event there can be: the thread never waits for a reader.
        let (events, receiver) = mpsc::channel(tokens + EVENTS);
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
        let pages = self.limits.source_pages + self.limits.target_pages;
        Capacity {
            requests,
            tokens: Some((pages * self.limits.page_tokens) as u64),
        }
    }

    fn waiting(&self) -> usize {
        self.numbers.waiting()
    }
}
