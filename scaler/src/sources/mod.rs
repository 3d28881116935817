//! Values from beside the proxies: a Prometheus query, a scraped metric, a field of any JSON, a
//! metric of CloudWatch, a queue of SQS.
//!
//! Each source has a task of its own that reads at its own interval, so that a slow source delays no
//! tick. Its last value counts while it is fresh; after that the value is missing.

mod answer;
pub(crate) mod exposition;
mod fault;
pub mod page;
mod rate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as Span;

use async_trait::async_trait;
use metrics::gauge;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

pub use fault::SourceFault;
pub use page::{PageReader, Sign};
use tidegate_policy::{FallbackRule, SourceRule};

use crate::by_fleet::{self, of_fleet};

/// A number, and how long ago it was true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub value: f64,
    pub age: Span,
    /// Part of what it adds up was missing, so that it is too small.
    pub is_partial: bool,
}

impl Sample {
    /// A value that is true now.
    pub fn new(value: f64) -> Sample {
        Sample {
            value,
            age: Span::ZERO,
            is_partial: false,
        }
    }

    /// # Errors
    /// When it is one that cannot be, or too old to count.
    fn check(self, fresh_for: Span) -> Result<Sample, SourceFault> {
        let age = self.age;
        match self.value {
            value if value < 0.0 => Err(SourceFault::Negative(value)),
            _ if age > fresh_for => Err(SourceFault::Old { age, fresh_for }),
            _ => Ok(self),
        }
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

/// What asking a source has come to.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The newest value, and since when it is true.
    newest: Option<(Instant, Sample)>,
    /// When a value last came, or asking began.
    answered: Instant,
    /// Calls since then that gave none.
    failures: u32,
}

/// What is known of all sources at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub values: BTreeMap<String, f64>,
    /// Those whose value is known to be too small.
    pub lower_bounds: BTreeSet<String>,
}

/// All sources, being asked. Their tasks end with it.
#[derive(Debug, Default)]
pub struct Sources(Vec<Source>);

#[derive(Debug)]
struct Source {
    name: String,
    fresh_for: Span,
    fallback: Option<FallbackRule>,
    falls_back: AtomicBool,
    reading: watch::Receiver<Reading>,
    task: JoinHandle<()>,
}

impl Sources {
    /// Begins to ask.
    pub fn start(rules: &[SourceRule], connect: Connect) -> Sources {
        let source = |rule: &SourceRule| {
            let (send, reading) = watch::channel(Reading {
                newest: None,
                answered: Instant::now(),
                failures: 0,
            });
            Source {
                name: rule.name.clone(),
                fresh_for: rule.fresh_for.into(),
                fallback: rule.fallback,
                falls_back: AtomicBool::new(false),
                reading,
                task: tokio::spawn(of_fleet(
                    by_fleet::current(),
                    ask_on(connect(rule), rule.clone(), send),
                )),
            }
        };
        Sources(rules.iter().map(source).collect())
    }

    /// What is known and fresh, and what counts instead where nothing is.
    pub fn known(&self) -> Known {
        let mut known = Known::default();
        for source in &self.0 {
            let Some(sample) = source.value() else {
                continue;
            };
            known.values.insert(source.name.clone(), sample.value);
            if sample.is_partial {
                known.lower_bounds.insert(source.name.clone());
            }
        }
        known
    }
}

impl Source {
    fn value(&self) -> Option<Sample> {
        let reading = *self.reading.borrow();
        let is_fresh = |(at, _): &(Instant, Sample)| at.elapsed() <= self.fresh_for;
        let fresh = reading.newest.filter(is_fresh).map(|(_, sample)| sample);
        let instead = self
            .fallback
            .filter(|rule| fresh.is_none() && reading.is_up(rule));
        self.tell(fresh.is_some(), instead);
        fresh.or(instead.map(|rule| Sample::new(rule.value)))
    }

    fn tell(&self, is_fresh: bool, fallback: Option<FallbackRule>) {
        let number = |is: bool| f64::from(u8::from(is));
        let name = &self.name;
        gauge!("tidegate_scaler_source_up", "source" => name.clone()).set(number(is_fresh));
        let is = fallback.is_some();
        if self.fallback.is_some() {
            let gauge = gauge!("tidegate_scaler_source_fallback", "source" => name.clone());
            gauge.set(number(is));
        }
        let was = self.falls_back.swap(is, Ordering::Relaxed);
        if let Some(rule) = fallback.filter(|_| !was) {
            let value = rule.value;
            tracing::warn!(
                code = "source_fallback",
                "source {name} gives no value, so its fallback counts: {value}"
            );
        }
    }
}

impl Reading {
    /// Whether nothing has been known for so long that the fallback counts.
    fn is_up(&self, rule: &FallbackRule) -> bool {
        let failed = rule.failures.is_some_and(|most| self.failures >= most);
        failed || (rule.after).is_some_and(|after| self.answered.elapsed() >= *after)
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
    let mut reported: Option<SourceFault> = None;
    let mut is_partial = false;
    loop {
        pace.tick().await;
        let asked = reader.ask().await;
        match asked.and_then(|sample| sample.check(rule.fresh_for.into())) {
            Ok(sample) => {
                if reported.take().is_some() {
                    tracing::info!(
                        code = "source_answers",
                        "source {} answers again",
                        rule.name
                    );
                }
                if sample.is_partial && !is_partial {
                    let name = &rule.name;
                    tracing::warn!(
                        code = "source_incomplete",
                        "source {name} warns that its value is incomplete and may be too small: no worker is removed because of it"
                    );
                }
                is_partial = sample.is_partial;
                let at = Instant::now().checked_sub(sample.age);
                send.send_replace(Reading {
                    newest: at.map(|at| (at, sample)),
                    answered: Instant::now(),
                    failures: 0,
                });
            }
            Err(SourceFault::First) => {}
            Err(fault) => {
                send.send_modify(|reading| reading.failures += 1);
                if reported
                    .as_ref()
                    .is_none_or(|reported| !reported.is_like(&fault))
                {
                    let (name, place) = (&rule.name, rule.whereabouts());
                    tracing::warn!(
                        code = "source_silent",
                        "source {name} ({place}) gives no value: {fault}"
                    );
                    reported = Some(fault);
                }
            }
        }
    }
}
