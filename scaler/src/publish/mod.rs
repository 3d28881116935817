//! The scaler's numbers for CloudWatch: gathered tick by tick, sent by a task of its own, so that
//! no tick waits for it.
//!
//! It knows only the format of metrics in AWS; the calls are in `aws`. A dry run publishes nothing, and
//! neither does a scaler that only watches: CloudWatch would add its numbers to those of the scaler
//! that acts.

mod emf;
mod gather;
mod post;
mod spread;

use std::time::Duration;

use async_trait::async_trait;
use metrics::counter;
use tidegate_control::Time;
use tidegate_policy::CloudWatchRules;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use emf::Emf;
pub use gather::{Batch, Datum, Gather, MOST_VALUES, Snapshot, Unit};
pub use post::PostRules;
pub use spread::Spread;

use crate::by_fleet::{self, of_fleet};
use post::Post;

/// Intervals on their way to the task; it empties this whenever it does not call.
const INBOX: usize = 64;

/// Where batches go.
#[async_trait]
pub trait Outlet: Send {
    /// Takes all of these batches or none. Ends by itself.
    async fn put(&mut self, batches: &[&Batch]) -> Result<(), PutFault>;

    /// Such as `CloudWatch`.
    fn name(&self) -> String;
}

/// Why batches were not taken.
#[derive(Debug, thiserror::Error)]
pub enum PutFault {
    /// They may be taken later.
    #[error("{why}")]
    Away { why: String },
    /// They never will be.
    #[error("it refuses them: {why}")]
    Refused { why: String },
}

/// Gathers, and hands over to the task that sends. The default publishes nothing.
#[derive(Default)]
pub struct Publisher(Option<Publishing>);

struct Publishing {
    gather: Gather,
    /// Absent once it is closed.
    inbox: Option<mpsc::Sender<Batch>>,
    task: JoinHandle<()>,
    flush_limit: Duration,
}

impl Publisher {
    /// Begins to publish by these rules.
    pub fn start(rules: &CloudWatchRules, outlet: Box<dyn Outlet>) -> Publisher {
        let post = PostRules {
            backlog: rules.backlog,
            dimension_bytes: (rules.dimensions.iter())
                .map(|(name, value)| name.len() + value.len())
                .sum(),
            ..PostRules::default()
        };
        Publisher::through(
            outlet,
            post,
            rules.interval.into(),
            rules.flush_limit.into(),
        )
    }

    /// Begins to publish by this outlet.
    pub fn through(
        outlet: Box<dyn Outlet>,
        rules: PostRules,
        interval: Duration,
        flush_limit: Duration,
    ) -> Publisher {
        let (inbox, batches) = mpsc::channel(INBOX);
        let post = Post::new(outlet, rules, batches);
        Publisher(Some(Publishing {
            gather: Gather::new(interval),
            inbox: Some(inbox),
            task: tokio::spawn(of_fleet(by_fleet::current(), post.run())),
            flush_limit,
        }))
    }

    /// Takes in one tick. Never waits.
    pub fn tick(&mut self, now: Time, snapshot: &Snapshot<'_>) {
        if let Some(publishing) = &mut self.0
            && let Some(batch) = publishing.gather.tick(now, snapshot)
        {
            publishing.hand_over(batch);
        }
    }

    /// Takes in one tick of which another scaler tells.
    pub fn watch(&mut self, now: Time, snapshot: &Snapshot<'_>) {
        if let Some(publishing) = &mut self.0
            && let Some(batch) = publishing.gather.watch(now, snapshot)
        {
            publishing.hand_over(batch);
        }
    }

    /// Sends what is left, as far as the flush limit allows. To be called again when it was
    /// dropped before its end.
    pub async fn close(&mut self) {
        let Some(publishing) = &mut self.0 else {
            return;
        };
        if let Some(rest) = publishing.gather.take() {
            publishing.hand_over(rest);
        }
        publishing.inbox = None;
        let limit = publishing.flush_limit;
        if tokio::time::timeout(limit, &mut publishing.task)
            .await
            .is_err()
        {
            tracing::warn!(
                code = "metrics_unsent",
                "the last metrics were not published within {limit:?}"
            );
            publishing.task.abort();
        }
        self.0 = None;
    }
}

impl Publishing {
    fn hand_over(&self, batch: Batch) {
        let dropped = batch.data.len() as u64;
        let sent = self.inbox.as_ref().map(|inbox| inbox.try_send(batch));
        if !matches!(sent, Some(Ok(()))) {
            counter!(post::DROPPED).increment(dropped);
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        self.task.abort();
    }
}
