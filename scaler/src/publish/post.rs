//! The task that sends metrics: keeps unsent data, retries with growing pauses, and drops the oldest
//! data when it has too many.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Batch, Outlet, PutFault};

pub const DROPPED: &str = "tidegate_scaler_publish_dropped_total";
const PUBLISHED: &str = "tidegate_scaler_published_total";
const BACKLOG: &str = "tidegate_scaler_publish_backlog";

/// CloudWatch's limit for one call.
const MOST_DATA: usize = 1000;

/// Less than CloudWatch's 1 MB, as sizes are estimated.
const MOST_BYTES: usize = 900_000;

/// A name, a unit, a time stamp and what they are wrapped in.
const DATUM_BYTES: usize = 256;

/// A value and its count.
const VALUE_BYTES: usize = 18;

/// How batches are sent.
#[derive(Clone, Debug)]
pub struct PostRules {
    /// Batches that are kept.
    pub backlog: usize,
    /// Of the dimensions that every datum has.
    pub dimension_bytes: usize,
    /// After the first failure; doubled with each that follows.
    pub first_wait: Duration,
    pub longest_wait: Duration,
}

impl Default for PostRules {
    fn default() -> Self {
        PostRules {
            backlog: 60,
            dimension_bytes: 0,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
        }
    }
}

pub struct Post {
    outlet: Box<dyn Outlet>,
    rules: PostRules,
    inbox: mpsc::Receiver<Batch>,
    /// The inbox gives no more.
    closed: bool,
    kept: VecDeque<Batch>,
    failures: u32,
    /// Data that were dropped since the last success.
    dropped: u64,
}

impl Post {
    pub fn new(outlet: Box<dyn Outlet>, rules: PostRules, inbox: mpsc::Receiver<Batch>) -> Post {
        Post {
            outlet,
            rules,
            inbox,
            closed: false,
            kept: VecDeque::new(),
            failures: 0,
            dropped: 0,
        }
    }

    /// Sends until the inbox is closed and everything is sent.
    pub async fn run(mut self) {
        loop {
            self.take_what_is_there();
            gauge!(BACKLOG).set(self.kept.len() as f64);
            if !self.kept.is_empty() {
                self.send().await;
                self.wait().await;
            } else if self.closed {
                return;
            } else if let Some(batch) = self.inbox.recv().await {
                self.keep(batch);
            }
        }
    }

    fn take_what_is_there(&mut self) {
        loop {
            match self.inbox.try_recv() {
                Ok(batch) => self.keep(batch),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn keep(&mut self, batch: Batch) {
        self.kept.push_back(batch);
        while self.kept.len() > self.rules.backlog {
            let oldest = self.kept.pop_front();
            self.drop_data(oldest.map_or(0, |batch| batch.data.len()));
        }
    }

    fn drop_data(&mut self, count: usize) {
        self.dropped += count as u64;
        counter!(DROPPED).increment(count as u64);
    }

    /// One call with as many of the oldest batches as it takes.
    async fn send(&mut self) {
        let count = fitting(&self.kept, self.rules.dimension_bytes);
        let batches: Vec<&Batch> = self.kept.iter().take(count).collect();
        let data: usize = batches.iter().map(|batch| batch.data.len()).sum();
        let put = self.outlet.put(&batches).await;
        match put {
            Ok(()) => {
                counter!(PUBLISHED).increment(data as u64);
                self.kept.drain(..count);
                self.note_success();
            }
            Err(PutFault::Refused { why }) => {
                self.kept.drain(..count);
                self.drop_data(data);
                self.note_failure(&format!("it refuses {data} data: {why}"));
            }
            Err(PutFault::Away { why }) => self.note_failure(&why),
        }
    }

    fn note_success(&mut self) {
        if self.failures > 0 {
            let (name, dropped) = (self.outlet.name(), self.dropped);
            tracing::info!(
                code = "metrics_accepted",
                "{name} accepts metrics again; {dropped} data points were dropped"
            );
        }
        (self.failures, self.dropped) = (0, 0);
    }

    fn note_failure(&mut self, why: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            let (name, kept) = (self.outlet.name(), self.rules.backlog);
            tracing::warn!(
                code = "metrics_refused",
                "{name} accepts no metrics ({why}); keeping the last {kept} intervals"
            );
        }
    }

    /// After a failure: longer each time, and less by chance, so that many do not come at once.
    async fn wait(&mut self) {
        if self.failures == 0 {
            return;
        }
        let doubled = 2_u32.saturating_pow((self.failures - 1).min(16));
        let longest = self.rules.first_wait.saturating_mul(doubled);
        let until = Instant::now() + jittered(longest.min(self.rules.longest_wait));
        while !self.closed {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                batch = self.inbox.recv() => match batch {
                    Some(batch) => self.keep(batch),
                    None => self.closed = true,
                },
            }
        }
        // The scaler ends: what is left is tried at the shortest pace until its limit.
        let soon = Instant::now() + self.rules.first_wait;
        tokio::time::sleep_until(until.min(soon)).await;
    }
}

/// How many of the oldest batches fit into one call; at least one.
fn fitting(kept: &VecDeque<Batch>, dimension_bytes: usize) -> usize {
    let (mut data, mut bytes) = (0, 0);
    let fits = kept.iter().take_while(|batch| {
        data += batch.data.len();
        let sizes = batch.data.iter().map(|datum| {
            // Each dimension is wrapped in twenty bytes or so.
            DATUM_BYTES + 2 * dimension_bytes + VALUE_BYTES * datum.values.len()
        });
        bytes += sizes.sum::<usize>();
        data <= MOST_DATA && bytes <= MOST_BYTES
    });
    fits.count().max(1)
}

/// From half of it to all of it.
fn jittered(wait: Duration) -> Duration {
    // Its keys are random, which is all that is needed here.
    let chance = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
    wait.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use tidegate_control::Time;

    use super::super::{Datum, Unit};
    use super::*;

    fn batch(data: usize, values: usize) -> Batch {
        let datum = Datum {
            name: "QueueLength",
            unit: Unit::Count,
            dimension: None,
            values: vec![(1.0, 1); values],
        };
        Batch {
            at: Time::from_ms(0),
            data: vec![datum; data],
        }
    }

    #[test]
    fn a_call_keeps_to_cloudwatchs_limits() {
        let kept: VecDeque<Batch> = (0..100).map(|_| batch(30, 1)).collect();
        assert_eq!(fitting(&kept, 0), 33, "1000 data");
        let kept: VecDeque<Batch> = (0..100).map(|_| batch(30, 150)).collect();
        assert_eq!(fitting(&kept, 0), 10, "1 MB");
        assert_eq!(fitting(&VecDeque::from([batch(2000, 1)]), 0), 1);
    }
}
