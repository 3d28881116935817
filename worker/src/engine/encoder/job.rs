//! One accepted request on its way through the queue and the compute threads.
//!
//! Its texts may be computed in several batches by several threads; the last of them hands the
//! whole answer over. The slot is given back before the answer leaves, so that whoever waited
//! for the answer finds the slot free.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidegate_agent::Slot;
use tokio::sync::mpsc;

use super::Rows;
use crate::engine::{Event, Failure, Usage};
use crate::models::{Sequence, Want};
use crate::trace;

/// A request's events: started, its rows, finished.
const EVENTS: usize = 3;

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
    rows: Rows,
    /// Texts whose results are not there yet.
    missing: usize,
    /// Pieces that are computed now.
    computing: usize,
    begun: Option<Instant>,
    failure: Option<String>,
    slot: Option<Slot>,
    /// There until the last event was sent.
    events: Option<mpsc::Sender<Event<Rows>>>,
}

/// Some of a job's texts, to be computed in one batch.
#[derive(Debug)]
pub struct Piece {
    pub job: Arc<Job>,
    pub texts: Range<usize>,
    /// Texts of the batch that it was computed in, once that is known.
    pub batch_texts: usize,
}

impl Job {
    /// A job and where its events will arrive; there is at least one text.
    pub fn new(
        texts: Vec<Sequence>,
        want: Want,
        deadline: Option<Instant>,
        slot: Slot,
        now: Instant,
    ) -> (Arc<Job>, mpsc::Receiver<Event<Rows>>) {
        let (sender, events) = mpsc::channel(EVENTS);
        let progress = Progress {
            rows: vec![Vec::new(); texts.len()],
            missing: texts.len(),
            computing: 0,
            begun: None,
            failure: None,
            slot: Some(slot),
            events: Some(sender),
        };
        let job = Job {
            texts,
            want,
            deadline,
            queued: now,
            progress: Mutex::new(progress),
        };
        (Arc::new(job), events)
    }

    /// Whether computing more of it still serves someone: its client waits, nothing failed, and
    /// its deadline has not passed before it was begun.
    pub fn is_wanted(&self, now: Instant) -> bool {
        let progress = self.progress();
        let in_time =
            progress.begun.is_some() || self.deadline.is_none_or(|deadline| now < deadline);
        let awaited = progress
            .events
            .as_ref()
            .is_some_and(|events| !events.is_closed());
        in_time && awaited && progress.failure.is_none()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Job {
    /// A job that left the queue without being begun has expired.
    fn drop(&mut self) {
        let progress = self.progress.get_mut();
        let progress = progress.unwrap_or_else(PoisonError::into_inner);
        drop(progress.slot.take());
        progress.tell(Event::Failed(Failure::Expired));
    }
}

impl Progress {
    /// There is room for all events that a job has; the client may have left meanwhile.
    fn tell(&self, event: Event<Rows>) {
        if let Some(events) = &self.events {
            let _ = events.try_send(event);
        }
    }
}

impl Piece {
    /// Takes texts of a job out of the queue.
    pub fn begin(job: Arc<Job>, texts: Range<usize>, now: Instant) -> Piece {
        {
            let mut progress = job.progress();
            if progress.begun.is_none() {
                progress.begun = Some(now);
                progress.tell(Event::Started);
            }
            progress.computing += 1;
        }
        Piece {
            job,
            texts,
            batch_texts: 0,
        }
    }

    pub fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.job.texts[self.texts.clone()].iter()
    }

    /// Hands in what became of it; the last piece of a job answers for all.
    pub fn finish(self, results: Result<Rows, String>, now: Instant) {
        let mut progress = self.job.progress();
        progress.computing -= 1;
        match results {
            Ok(results) => {
                progress.missing -= results.len();
                for (place, result) in self.texts.clone().zip(results) {
                    progress.rows[place] = result;
                }
            }
            Err(problem) => progress.failure = Some(problem),
        }
        let over = progress.missing == 0 || progress.failure.is_some();
        if !over || progress.computing > 0 {
            return;
        }
        let slot = progress.slot.take();
        let trace = slot.as_ref().and_then(Slot::trace).cloned();
        drop(slot);
        match progress.failure.clone() {
            Some(problem) => progress.tell(Event::Failed(Failure::Compute(problem))),
            None => {
                let begun = progress.begun.unwrap_or(now);
                let rows = std::mem::take(&mut progress.rows);
                progress.tell(Event::Output(rows));
                let usage = Usage {
                    read: self.job.texts.iter().map(Sequence::len).sum(),
                    written: 0,
                    waited: begun.saturating_duration_since(self.job.queued),
                    computed: now.saturating_duration_since(begun),
                };
                trace::computed(trace.as_ref(), &usage, Some(self.batch_texts));
                progress.tell(Event::Finished(usage));
            }
        }
        progress.events = None;
    }
}
