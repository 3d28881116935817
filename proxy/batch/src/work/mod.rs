//! Runs one batch: sends the lines of the input and writes the answers to the journal until none is
//! left.
//!
//! `serve` and `run` share it. Lines are sent when the gate permits, in any order; an answer is on the
//! disk before it counts. While the disk is full, nothing is sent.

mod intake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tracing::{error, info};

use self::intake::Intake;
use crate::answer::{Answer, NoAnswer};
use crate::ask::{Asker, Asking};
use crate::input::{FileLimits, Line};
use crate::journal::{Counts, Journal, JournalError};
use crate::metrics;

/// Answers that are written down at once, at most.
const GROUP: usize = 256;

/// How often a full disk is tried again.
const DISK_RETRY: Duration = Duration::from_secs(2);

/// Bytes that one permit of the allowance stands for.
const GRAIN: usize = 4096;

/// What may be said to a batch at work. Whatever it is, nothing more is asked then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Work,
    /// What is asked may be answered, and the other lines are answered with that.
    Cancel,
    /// The lines that have no answer are answered with that.
    Expire,
    /// What is asked may be answered; the other lines are for another time.
    Pause,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every line has an answer, if only that it was cancelled or came too late.
    Whole(Order),
    /// Lines are left, for the next process.
    Paused,
}

#[derive(Debug, Error)]
pub enum WorkError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{}: {cause}", path.display())]
    Input {
        path: PathBuf,
        cause: std::io::Error,
    },
    #[error("{}: line {number} was valid and is invalid now: {what}", path.display())]
    Changed {
        path: PathBuf,
        number: u32,
        what: String,
    },
    #[error("{}: found {found} lines, expected {expected}: it was changed", path.display())]
    Cut {
        path: PathBuf,
        found: u32,
        expected: u32,
    },
    #[error("a line's task failed: {0}")]
    Task(#[from] JoinError),
}

/// What all batches of a process share.
pub struct Shared {
    pub asker: Asker,
    /// Bytes of the lines that are in memory.
    allowance: Arc<Semaphore>,
    /// Permits of the allowance.
    most: usize,
    limits: FileLimits,
    /// How long what was asked may still take when nothing more is asked.
    pub grace: Duration,
}

impl Shared {
    pub fn new(asker: Asker, bytes: usize, limits: FileLimits, grace: Duration) -> Shared {
        let most = bytes.div_ceil(GRAIN);
        Shared {
            asker,
            allowance: Arc::new(Semaphore::new(most)),
            most,
            limits,
            grace,
        }
    }

    /// Waits until so many bytes more may be in memory.
    pub fn room(
        &self,
        bytes: usize,
    ) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + use<> {
        let grains = bytes.div_ceil(GRAIN).clamp(1, self.most) as u32;
        Arc::clone(&self.allowance).acquire_many_owned(grains)
    }
}

/// Where lines come from.
#[derive(Clone, Debug)]
pub struct Input {
    pub path: PathBuf,
    /// Lines of the batch ahead of it, where it is a part of one.
    pub before: u32,
}

/// What is to be worked on.
#[derive(Clone, Debug)]
pub struct Job {
    pub batch: String,
    /// Whose batch it is.
    pub owner: String,
    pub input: Input,
    /// How many the input has, where that is known.
    pub lines: Option<u32>,
}

/// One batch, or a part of one.
pub struct Work {
    job: Arc<Job>,
    journal: Journal,
    shared: Arc<Shared>,
    orders: watch::Receiver<Order>,
    /// Updated after each group of answers.
    progress: watch::Sender<Counts>,
    /// `None` is a line that was not asked because the batch was stopped.
    asked: JoinSet<Option<Answer>>,
    /// The next line, while it waits for its share of the allowance.
    staged: Option<Line>,
}

impl Work {
    /// Answers to the lines of the job that `journal` does not have yet.
    pub fn new(
        job: Job,
        journal: Journal,
        shared: Arc<Shared>,
        orders: watch::Receiver<Order>,
        progress: watch::Sender<Counts>,
    ) -> Work {
        progress.send_replace(journal.counts());
        Work {
            job: Arc::new(job),
            journal,
            shared,
            orders,
            progress,
            asked: JoinSet::new(),
            staged: None,
        }
    }

    /// Works until every line has an answer, or the batch is paused. Gives the journal back.
    ///
    /// # Errors
    /// When it makes no sense to go on; what was answered is in the journal.
    pub async fn run(mut self) -> Result<(Journal, End), WorkError> {
        let order = self.ask_all().await?;
        if order != Order::Work {
            self.wind_up(order).await?;
        }
        let end = match order {
            Order::Pause => End::Paused,
            Order::Work => End::Whole(order),
            Order::Cancel => self.answer_rest(NoAnswer::Cancelled, order).await?,
            Order::Expire => self.answer_rest(NoAnswer::Expired, order).await?,
        };
        if end != End::Paused {
            self.check_whole()?;
        }
        Ok((self.journal, end))
    }

    /// An input that was cut off at the end of a line looks like a shorter one.
    fn check_whole(&self) -> Result<(), WorkError> {
        let counts = self.journal.counts();
        let found = counts.output + counts.error;
        match self.job.lines {
            Some(expected) if found < expected => Err(WorkError::Cut {
                path: self.job.input.path.clone(),
                found,
                expected,
            }),
            _ => Ok(()),
        }
    }

    /// Asks line after line. Gives the order that stopped it, or `Work` at the end.
    async fn ask_all(&mut self) -> Result<Order, WorkError> {
        let mut intake = Some(self.intake());
        loop {
            let order = *self.orders.borrow_and_update();
            let is_through = intake.is_none() && self.staged.is_none() && self.asked.is_empty();
            if order != Order::Work || is_through {
                return Ok(order);
            }
            let has_room = self.asked.len() < self.shared.asker.gate.limit();
            let wants_line = has_room && self.staged.is_none() && intake.is_some();
            let share = self.share();
            tokio::select! {
                Ok(()) = self.orders.changed() => {}
                Some(answer) = self.asked.join_next() => self.collect(answer?).await?,
                line = next(&mut intake), if wants_line => {
                    self.staged = line?;
                    if self.staged.is_none() {
                        intake = None;
                    }
                }
                Ok(share) = share, if self.staged.is_some() => self.ask(share),
            }
        }
    }

    /// What the staged line takes of the allowance of all lines in memory.
    fn share(&self) -> impl Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + use<> {
        let bytes = self.staged.as_ref().map_or(0, |line| line.body.len());
        self.shared.room(bytes)
    }

    fn ask(&mut self, share: OwnedSemaphorePermit) {
        let Some(line) = self.staged.take() else {
            return;
        };
        let (shared, job) = (Arc::clone(&self.shared), Arc::clone(&self.job));
        let mut orders = self.orders.clone();
        self.asked.spawn(async move {
            let stop = async {
                // Whoever gives orders lives as long as the batch is at work.
                let _ = orders.wait_for(|order| *order != Order::Work).await;
            };
            let asking = Asking {
                batch: &job.batch,
                owner: &job.owner,
                request_id: None,
                timeout: None,
            };
            let answer = shared.asker.ask(&line, asking, stop).await;
            drop(share);
            answer
        });
    }

    /// Gives what is asked a little time, and forgets the rest.
    async fn wind_up(&mut self, order: Order) -> Result<(), WorkError> {
        let grace = match order {
            Order::Expire => Duration::ZERO,
            _ => self.shared.grace,
        };
        let end = tokio::time::Instant::now() + grace;
        while let Ok(Some(answer)) = tokio::time::timeout_at(end, self.asked.join_next()).await {
            self.collect(answer?).await?;
        }
        self.asked.shutdown().await;
        self.staged = None;
        Ok(())
    }

    async fn answer_rest(&mut self, why: NoAnswer, order: Order) -> Result<End, WorkError> {
        let mut intake = Some(self.intake());
        let mut group = Vec::new();
        while let Some(line) = next(&mut intake).await? {
            group.push(Answer::none(&line, &self.job.batch, why));
            if group.len() == GROUP {
                self.write(&std::mem::take(&mut group)).await?;
            }
        }
        self.write(&group).await?;
        Ok(End::Whole(order))
    }

    /// Takes an answer, and all others that have come.
    async fn collect(&mut self, first: Option<Answer>) -> Result<(), WorkError> {
        let mut group = Vec::from_iter(first);
        while group.len() < GROUP
            && let Some(answer) = self.asked.try_join_next()
        {
            group.extend(answer?);
        }
        self.write(&group).await
    }

    /// Writes answers down, however long the disk is full; gives up when the batch is paused.
    async fn write(&mut self, answers: &[Answer]) -> Result<(), WorkError> {
        let mut was_full = false;
        while let Err(error) = tokio::task::block_in_place(|| self.journal.append(answers)) {
            let may_wait = *self.orders.borrow() != Order::Pause;
            if !error.is_full_disk() || !may_wait {
                return Err(error.into());
            }
            if !was_full {
                error!(batch = %self.job.batch, %error, "the disk is full; answers wait until there is room");
                metrics::disk_full(true);
                was_full = true;
            }
            tokio::select! {
                () = tokio::time::sleep(DISK_RETRY) => {}
                Ok(()) = self.orders.changed() => {}
            }
        }
        if was_full {
            info!(batch = %self.job.batch, "there is room on the disk again");
            metrics::disk_full(false);
        }
        for answer in answers {
            metrics::answered(answer.kind, answer.tokens);
        }
        self.progress.send_replace(self.journal.counts());
        Ok(())
    }

    fn intake(&self) -> Intake {
        let done = self.journal.lines().collect();
        Intake::start(self.job.input.clone(), self.shared.limits, done)
    }
}

async fn next(intake: &mut Option<Intake>) -> Result<Option<Line>, WorkError> {
    match intake {
        Some(intake) => intake.next().await,
        None => Ok(None),
    }
}
