//! Accepted texts in the order they came, cut into batches by tokens. Pure: `now` is an argument.
//!
//! Its length is bounded by the slots times the texts of a request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::job::{Job, Piece};
use crate::models::Sequence;

#[derive(Debug, Default)]
pub struct Queue {
    entries: VecDeque<Entry>,
    /// Of all entries.
    tokens: usize,
}

/// A job that waits, whole or in part.
#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    /// Texts of it that were already taken.
    taken: usize,
    /// Of the texts that were not.
    tokens: usize,
}

impl Queue {
    pub fn push(&mut self, job: Arc<Job>) {
        let tokens = job.texts.iter().map(Sequence::len).sum();
        self.tokens += tokens;
        self.entries.push_back(Entry {
            job,
            taken: 0,
            tokens,
        });
    }

    /// Jobs that wait, whole or in part.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// When the oldest of them was queued.
    pub fn oldest(&self) -> Option<Instant> {
        self.entries.front().map(|entry| entry.job.queued)
    }

    /// Tokens that wait.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Drops the jobs that nobody waits for any more.
    pub fn forget_unwanted(&mut self, now: Instant) {
        let mut tokens = 0;
        self.entries.retain(|entry| {
            let wanted = entry.job.is_wanted(now);
            tokens += if wanted { entry.tokens } else { 0 };
            wanted
        });
        self.tokens = tokens;
    }

    /// The next batch: whole texts in order while they fit into `budget` tokens, and at least
    /// one if there is any.
    pub fn take(&mut self, budget: usize, now: Instant) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut left = budget;
        while let Some(entry) = self.entries.front_mut() {
            let first = entry.taken;
            let mut end = first;
            let mut tokens = 0;
            for text in &entry.job.texts[first..] {
                let starts_batch = pieces.is_empty() && end == first;
                if text.len() > left && !starts_batch {
                    break;
                }
                left = left.saturating_sub(text.len());
                tokens += text.len();
                end += 1;
            }
            self.tokens -= tokens;
            entry.tokens -= tokens;
            entry.taken = end;
            if end > first {
                pieces.push(Piece::begin(entry.job.clone(), first..end, now));
            }
            if end < entry.job.texts.len() {
                break;
            }
            self.entries.pop_front();
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_agent::{Admission, Capacity};
    use tokio::sync::mpsc::Receiver;

    use super::super::Rows;
    use super::*;
    use crate::engine::{Event, Failure};
    use crate::models::Want;

    /// A queue with one job for each list of text lengths.
    struct Harness {
        queue: Queue,
        admission: Arc<Admission>,
        events: Vec<Receiver<Event<Rows>>>,
        now: Instant,
    }

    impl Harness {
        fn with(jobs: &[&[usize]]) -> Harness {
            let mut harness = Harness {
                queue: Queue::default(),
                admission: Admission::new(Capacity {
                    requests: 9,
                    tokens: None,
                }),
                events: Vec::new(),
                now: Instant::now(),
            };
            for lengths in jobs {
                harness.push(lengths, None);
            }
            harness
        }

        fn push(&mut self, lengths: &[usize], deadline: Option<Instant>) {
            let text = |length: &usize| Sequence {
                ids: vec![1; *length],
                kinds: Vec::new(),
            };
            let texts = lengths.iter().map(text).collect();
            let slot = self.admission.take("").expect("a slot is free");
            let (job, events) = Job::new(texts, Want::Result, deadline, slot, self.now);
            self.queue.push(job);
            self.events.push(events);
        }

        /// What the first job says next, apart from its beginning.
        fn output(&mut self) -> Option<Event<Rows>> {
            let mut next = || self.events[0].try_recv().ok();
            match next() {
                Some(Event::Started) => next(),
                other => other,
            }
        }

        /// Lengths of the texts of the next batch, by job.
        fn take(&mut self, budget: usize) -> Vec<Vec<usize>> {
            let pieces = self.queue.take(budget, self.now);
            pieces
                .iter()
                .map(|piece| piece.sequences().map(Sequence::len).collect())
                .collect()
        }
    }

    #[test]
    fn batches_follow_the_order_of_arrival_within_the_budget() {
        let mut harness = Harness::with(&[&[10, 10], &[10, 10, 10], &[5]]);
        assert_eq!(harness.queue.tokens(), 55);
        assert_eq!(harness.take(30), [vec![10, 10], vec![10]]);
        assert_eq!((harness.queue.len(), harness.queue.tokens()), (2, 25));
        assert_eq!(harness.take(30), [vec![10, 10], vec![5]]);
        assert_eq!(harness.queue.len(), 0);
        assert!(harness.take(30).is_empty());
    }

    #[test]
    fn a_text_over_the_budget_is_a_batch_of_its_own() {
        let mut harness = Harness::with(&[&[50], &[1]]);
        assert_eq!(harness.take(30), [vec![50]]);
        assert_eq!(harness.take(30), [vec![1]]);
    }

    #[test]
    fn who_left_or_is_late_is_forgotten_and_gives_the_slot_back() {
        let mut harness = Harness::with(&[&[10, 10], &[20]]);
        let deadline = harness.now + Duration::from_millis(5);
        harness.push(&[30], Some(deadline));
        let begun = harness.queue.take(10, harness.now);
        drop(harness.events.remove(0));
        harness.queue.forget_unwanted(deadline);
        let busy = harness.admission.busy();
        assert_eq!(busy, 2, "the begun batch and the second job");
        for piece in begun {
            piece.finish(Ok(vec![vec![0.0]]), harness.now);
        }
        assert_eq!(harness.admission.busy(), 1);
        assert_eq!(harness.take(100), [vec![20]]);
    }

    #[test]
    fn a_job_over_several_batches_answers_once_and_whole() {
        let mut harness = Harness::with(&[&[3, 3, 3]]);
        let first = harness.queue.take(6, harness.now);
        let second = harness.queue.take(6, harness.now);
        for (piece, values) in second
            .into_iter()
            .chain(first)
            .zip([&[2.0][..], &[0.0, 1.0]])
        {
            assert!(harness.output().is_none());
            piece.finish(
                Ok(values.iter().map(|value| vec![*value]).collect()),
                harness.now,
            );
        }
        let rows = vec![vec![0.0], vec![1.0], vec![2.0]];
        assert_eq!(harness.output(), Some(Event::Output(rows)));
        assert!(matches!(harness.output(), Some(Event::Finished(_))));
    }

    #[test]
    fn a_failed_batch_fails_its_jobs_and_spares_their_other_texts() {
        let mut harness = Harness::with(&[&[3, 3], &[3]]);
        for piece in harness.queue.take(3, harness.now) {
            piece.finish(Err("no".to_owned()), harness.now);
        }
        let failed = Event::Failed(Failure::Compute("no".to_owned()));
        assert_eq!(harness.output(), Some(failed));
        assert_eq!(harness.admission.busy(), 1);
        harness.queue.forget_unwanted(harness.now);
        assert_eq!(harness.take(100), [vec![3]]);
    }
}
