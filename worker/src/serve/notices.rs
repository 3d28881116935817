//! Notices from the instance's metadata that it will end: a task reads them and reports each once.
//!
//! A failed read is no notice: the worker continues, and logs the failure.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::metadata::{Metadata, MetadataError};
use crate::config::{MetadataConfig, OnRebalance};
use crate::metrics::{self, Notice};

const INTERRUPTION: &str = "spot/instance-action";
const LIFECYCLE: &str = "autoscaling/target-lifecycle-state";
const REBALANCE: &str = "events/recommendations/rebalance";

/// Listens for a notice that the worker has to leave. Its task ends with it.
pub struct Notices {
    leave: watch::Receiver<Option<String>>,
    task: Option<JoinHandle<()>>,
}

impl Notices {
    /// Begins to ask, if there is someone to ask.
    pub fn start(metadata: Option<Metadata>, config: &MetadataConfig) -> Notices {
        let (sender, leave) = watch::channel(None);
        let task = metadata.map(|metadata| {
            let lookout = Lookout {
                metadata,
                on_rebalance: config.on_rebalance,
                rebalance_told: false,
                answers: true,
            };
            let interval = *config.interval;
            tokio::spawn(async move {
                let why = lookout.watch(interval).await;
                sender.send_replace(Some(why));
            })
        });
        Notices { leave, task }
    }

    /// Waits until the worker has to leave, and returns why. May be dropped and called again.
    pub async fn leave(&mut self) -> String {
        let why = self.leave.wait_for(Option::is_some).await;
        match why.ok().and_then(|why| why.clone()) {
            Some(why) => why,
            // Nobody asks.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Lookout {
    metadata: Metadata,
    on_rebalance: OnRebalance,
    rebalance_told: bool,
    /// Whether the last question was answered.
    answers: bool,
}

impl Lookout {
    /// Asks until there is a reason to leave.
    async fn watch(mut self, interval: std::time::Duration) -> String {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = self.look().await;
            self.note(looked.as_ref().err());
            if let Ok(Some(why)) = looked {
                return why;
            }
        }
    }

    /// The first reason to leave, the most urgent first.
    async fn look(&mut self) -> Result<Option<String>, MetadataError> {
        if let Some(action) = self.metadata.get(INTERRUPTION).await? {
            metrics::notice(Notice::Interruption);
            return Ok(Some(format!("spot interruption notice: {action}")));
        }
        let target = self.metadata.get(LIFECYCLE).await?;
        if target.as_deref() == Some("Terminated") {
            metrics::notice(Notice::Lifecycle);
            let why = "the Auto Scaling group terminates the instance";
            return Ok(Some(why.to_owned()));
        }
        match self.metadata.get(REBALANCE).await? {
            Some(recommended) => Ok(self.rebalance(&recommended)),
            None => Ok(None),
        }
    }

    fn rebalance(&mut self, recommended: &str) -> Option<String> {
        metrics::notice(Notice::Rebalance);
        match self.on_rebalance {
            OnRebalance::Drain => Some(format!("rebalance recommendation: {recommended}")),
            OnRebalance::Tell => {
                if !std::mem::replace(&mut self.rebalance_told, true) {
                    warn!(
                        recommended,
                        "an interruption has become more likely; still serving"
                    );
                }
                None
            }
        }
    }

    fn note(&mut self, error: Option<&MetadataError>) {
        let answers = error.is_none();
        if std::mem::replace(&mut self.answers, answers) == answers {
            return;
        }
        match error {
            None => info!("the instance's metadata service answers again"),
            Some(error) => {
                warn!(%error, "the instance's metadata service does not answer; still asking")
            }
        }
    }
}
