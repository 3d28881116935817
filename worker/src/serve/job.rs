//! One accepted request on its way through the queue and the lanes.
//!
//! Its texts may be computed in several batches by several lanes; the last of them hands the
//! whole answer over. The slot is given back before the answer leaves, so that whoever waited
//! for the answer finds the slot free.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::oneshot;

use super::admission::Slot;
use crate::model::{Sequence, Want};

/// A request's texts, and what is known of their results so far.
#[derive(Debug)]
pub struct Job {
    pub texts: Vec<Sequence>,
    /// Of each text.
    pub want: Want,
    deadline: Option<Instant>,
    pub queued: Instant,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    results: Vec<Vec<f32>>,
    /// Texts whose results are not there yet.
    missing: usize,
    /// Pieces in the lanes now.
    computing: usize,
    begun: Option<Instant>,
    failure: Option<String>,
    slot: Option<Slot>,
    reply: Option<oneshot::Sender<Outcome>>,
}

pub type Outcome = Result<Answer, JobError>;

#[derive(Debug, PartialEq)]
pub struct Answer {
    /// One a text, in the order of the texts.
    pub results: Vec<Vec<f32>>,
    pub waited: Duration,
    pub computed: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JobError {
    #[error("computing failed: {0}")]
    Compute(String),
}

/// Some of a job's texts, to be computed in one batch.
#[derive(Debug)]
pub struct Piece {
    pub job: Arc<Job>,
    pub texts: Range<usize>,
}

impl Job {
    /// A job and where its outcome will arrive; there is at least one text.
    pub fn new(
        texts: Vec<Sequence>,
        want: Want,
        deadline: Option<Instant>,
        slot: Slot,
        now: Instant,
    ) -> (Arc<Job>, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        let progress = Progress {
            results: vec![Vec::new(); texts.len()],
            missing: texts.len(),
            computing: 0,
            begun: None,
            failure: None,
            slot: Some(slot),
            reply: Some(reply),
        };
        let job = Job {
            texts,
            want,
            deadline,
            queued: now,
            progress: Mutex::new(progress),
        };
        (Arc::new(job), outcome)
    }

    /// Whether computing more of it still serves someone: its client waits, nothing failed, and
    /// its deadline has not passed before it was begun.
    pub fn is_wanted(&self, now: Instant) -> bool {
        let progress = self.progress();
        let in_time =
            progress.begun.is_some() || self.deadline.is_none_or(|deadline| now < deadline);
        let awaited = progress
            .reply
            .as_ref()
            .is_some_and(|reply| !reply.is_closed());
        in_time && awaited && progress.failure.is_none()
    }

    pub fn has_begun(&self) -> bool {
        self.progress().begun.is_some()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    /// Takes texts of a job out of the queue.
    pub fn begin(job: Arc<Job>, texts: Range<usize>, now: Instant) -> Piece {
        {
            let mut progress = job.progress();
            progress.begun.get_or_insert(now);
            progress.computing += 1;
        }
        Piece { job, texts }
    }

    pub fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.job.texts[self.texts.clone()].iter()
    }

    /// Hands in what became of it; the last piece of a job answers for all.
    pub fn finish(self, results: Result<Vec<Vec<f32>>, String>, now: Instant) {
        let mut progress = self.job.progress();
        progress.computing -= 1;
        match results {
            Ok(results) => {
                progress.missing -= results.len();
                for (place, result) in self.texts.clone().zip(results) {
                    progress.results[place] = result;
                }
            }
            Err(problem) => progress.failure = Some(problem),
        }
        let over = progress.missing == 0 || progress.failure.is_some();
        if !over || progress.computing > 0 {
            return;
        }
        let begun = progress.begun.unwrap_or(now);
        let outcome = match progress.failure.clone() {
            Some(problem) => Err(JobError::Compute(problem)),
            None => Ok(Answer {
                results: std::mem::take(&mut progress.results),
                waited: begun.saturating_duration_since(self.job.queued),
                computed: now.saturating_duration_since(begun),
            }),
        };
        drop(progress.slot.take());
        if let Some(reply) = progress.reply.take() {
            // The client may have left meanwhile.
            let _ = reply.send(outcome);
        }
    }
}
