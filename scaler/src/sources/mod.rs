//! Values from beside the proxies: a Prometheus query, a scraped metric, a field of any JSON, a
//! metric of CloudWatch, a queue of SQS.
//!
//! Each source has a task of its own that asks at its own pace, so that a slow one delays no
//! tick. What it said counts as long as it is fresh; after that the law knows that it does not know.

pub mod page;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration as Span;

use metrics::gauge;
use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

pub use page::ask;
pub use rules::{MetricRule, QueueRule, QueueValue, SourceRule};

use crate::aws::metric::MetricReader;
use crate::aws::sqs::QueueReader;
use crate::by_fleet::{self, of_fleet};
use crate::http;

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
    pub fn start(rules: &[SourceRule]) -> Sources {
        let source = |rule: &SourceRule| {
            let (send, newest) = watch::channel(None);
            Source {
                name: rule.name.clone(),
                fresh_for: rule.fresh_for.into(),
                newest,
                task: tokio::spawn(of_fleet(by_fleet::current(), ask_on(rule.clone(), send))),
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

/// How a source is asked, with what is kept from one time to the next.
enum Asker {
    Page(Client),
    Metric(MetricReader),
    Queue(QueueReader),
}

impl Asker {
    fn new(rule: &SourceRule) -> Asker {
        let timeout = rule.timeout.into();
        match (&rule.cloudwatch, &rule.sqs) {
            (Some(metric), _) => Asker::Metric(MetricReader::new(metric, timeout)),
            (_, Some(queue)) if queue.value == QueueValue::Age => {
                Asker::Metric(MetricReader::new(&queue.age(), timeout))
            }
            (_, Some(queue)) => Asker::Queue(QueueReader::new(queue, timeout)),
            (None, None) => Asker::Page(http::client()),
        }
    }

    async fn ask(&mut self, rule: &SourceRule) -> Result<Sample, SourceFault> {
        let fresh = |value| Sample {
            value,
            age: Span::ZERO,
        };
        match self {
            Asker::Page(client) => page::ask(client, rule).await.map(fresh),
            Asker::Metric(reader) => reader.ask(rule.fresh_for.into()).await,
            Asker::Queue(reader) => reader.ask().await.map(fresh),
        }
    }
}

async fn ask_on(rule: SourceRule, send: watch::Sender<Reading>) {
    let mut asker = Asker::new(&rule);
    let mut pace = tokio::time::interval(rule.every.into());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        pace.tick().await;
        match asker.ask(&rule).await {
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
