//! Values from beside the proxies: a Prometheus query, a scraped metric, a field of any JSON, a
//! metric of CloudWatch, a queue of SQS.
//!
//! Each source has a task of its own that asks at its own pace, so that a slow one delays no
//! tick. What it said counts as long as it is fresh; after that the law knows that it does not know.

pub mod page;

use std::collections::BTreeMap;
use std::time::Duration as Span;

use async_trait::async_trait;
use metrics::gauge;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

pub use page::PageReader;
use tidegate_policy::SourceRule;

use crate::by_fleet::{self, of_fleet};

/// Why a source gave no number.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    #[error("it cannot be asked: {0}")]
    Call(#[from] reqwest::Error),
    #[error("it cannot be asked: {0}")]
    Aws(String),
    #[error("there is no such queue")]
    NoQueue,
    #[error("it has no value for any whole period of the last {0:?}")]
    NoData(Span),
    #[error("it has {0} series, expected one")]
    Series(usize),
    #[error("it does not answer within {0:?}")]
    Slow(Span),
    #[error("its answer is longer than {} bytes", page::LARGEST_ANSWER_BYTES)]
    Large,
    #[error("its answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("{found} instead of one number at {place}")]
    NotANumber { place: String, found: String },
}

/// A number, and how long ago it was true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub value: f64,
    pub age: Span,
}

impl Sample {
    /// A value that is true now.
    pub fn new(value: f64) -> Sample {
        let age = Span::ZERO;
        Sample { value, age }
    }
}

/// Where one source's value is read. Keeps from one time to the next what the reading needs.
#[async_trait]
pub trait Ask: Send {
    /// Reads the value once. Ends by itself.
    async fn ask(&mut self) -> Result<Sample, SourceFault>;
}

/// How the reader of a source is made.
pub type Connect = fn(&SourceRule) -> Box<dyn Ask>;

type Reading = Option<(Instant, f64)>;

/// All sources, being asked. Their tasks end with it.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    name: String,
    fresh_for: Span,
    newest: watch::Receiver<Reading>,
    task: JoinHandle<()>,
}

impl Sources {
    /// Begins to ask.
    pub fn start(rules: &[SourceRule], connect: Connect) -> Sources {
        let source = |rule: &SourceRule| {
            let (send, newest) = watch::channel(None);
            Source {
                name: rule.name.clone(),
                fresh_for: rule.fresh_for.into(),
                newest,
                task: tokio::spawn(of_fleet(
                    by_fleet::current(),
                    ask_on(connect(rule), rule.clone(), send),
                )),
            }
        };
        Sources(rules.iter().map(source).collect())
    }

    /// What is known and fresh.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let fresh = |source: &Source| {
            let newest = *source.newest.borrow();
            let fresh = newest.filter(|(at, _)| at.elapsed() <= source.fresh_for);
            let up = f64::from(u8::from(fresh.is_some()));
            gauge!("tidegate_scaler_source_up", "source" => source.name.clone()).set(up);
            fresh.map(|(_, value)| (source.name.clone(), value))
        };
        self.0.iter().filter_map(fresh).collect()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask_on(mut reader: Box<dyn Ask>, rule: SourceRule, send: watch::Sender<Reading>) {
    let mut pace = tokio::time::interval(rule.every.into());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        pace.tick().await;
        match reader.ask().await {
            Ok(sample) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("source {} answers again", rule.name);
                }
                let at = Instant::now().checked_sub(sample.age);
                send.send_replace(at.map(|at| (at, sample.value)));
            }
            Err(fault) if !failing => {
                failing = true;
                let (name, place) = (&rule.name, rule.whereabouts());
                tracing::warn!("source {name} ({place}) gives no value: {fault}");
            }
            Err(_) => {}
        }
    }
}
