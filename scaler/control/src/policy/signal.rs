//! `[[signal]]`: a measured value, and how many workers it asks for.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidegate_config::{Duration, Problem};

use super::value::{OnMissing, TargetValue};
use super::{Slo, check_at_least_a_second, quoted};
use crate::{Quantity, Unit};

/// Longest window of a statistic; bounds what is remembered.
const LONGEST_WINDOW: Duration = Duration::from_secs(600);

/// `[[signal]]`: one measured value, and how many workers it asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRule {
    /// How decisions call it.
    pub name: String,
    #[serde(default)]
    pub source: Source,
    /// Of the proxies; a source beside them has only its value.
    #[serde(default)]
    pub metric: Metric,
    pub statistic: Statistic,
    /// The statistic is taken over this span up to now.
    pub window: Duration,
    /// Asks for `value / target_per_worker` workers.
    #[serde(default)]
    pub target_per_worker: Option<f64>,
    /// Asks for `value / target_value` times the workers that serve now.
    #[serde(default)]
    pub target_value: Option<TargetValue>,
    #[serde(default)]
    pub on_missing: OnMissing,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum Source {
    /// The signals of the configured proxies, added up.
    #[default]
    Proxy,
    /// A `[[source]]` of this name.
    Named(String),
}

impl From<String> for Source {
    fn from(name: String) -> Source {
        match name.as_str() {
            "proxy" => Source::Proxy,
            _ => Source::Named(name),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Requests in the queue.
    QueueLength,
    /// Age of the oldest request in the queue.
    OldestWait,
    /// Requests that workers are at.
    InFlight,
    /// Both: all that is wanted of the workers now. Unlike `in_flight` it does not end where
    /// their slots end.
    Concurrency,
    /// Arrivals a second.
    RequestRate,
    /// From arrival to the end, however it ended.
    Latency,
    /// Whatever a source beside the proxies says.
    #[default]
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    Mean,
    Max,
    P95,
    P99,
    /// Events a second over the window.
    Rate,
}

/// What a signal is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    PerWorker(f64),
    Value(f64),
}

impl Metric {
    pub fn unit(self) -> Unit {
        match self {
            Metric::QueueLength | Metric::InFlight | Metric::Concurrency | Metric::Value => {
                Unit::Count
            }
            Metric::RequestRate => Unit::PerSecond,
            Metric::OldestWait | Metric::Latency => Unit::Seconds,
        }
    }

    fn statistics(self) -> &'static [Statistic] {
        match self {
            Metric::RequestRate => &[Statistic::Rate],
            _ => &[
                Statistic::Mean,
                Statistic::Max,
                Statistic::P95,
                Statistic::P99,
            ],
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Statistic::Mean => "mean",
            Statistic::Max => "max",
            Statistic::P95 => "p95",
            Statistic::P99 => "p99",
            Statistic::Rate => "rate",
        })
    }
}

impl SignalRule {
    pub fn quantity(&self, value: f64) -> Quantity {
        let unit = self.metric.unit();
        Quantity { value, unit }
    }

    pub fn target(&self, slo: &Slo) -> Target {
        match (self.target_per_worker, self.target_value) {
            (Some(target), _) => Target::PerWorker(target),
            (None, Some(TargetValue::Number(target))) => Target::Value(target),
            (None, Some(TargetValue::Time(target))) => Target::Value(target.as_secs_f64()),
            (None, None) => Target::Value(slo.latency.as_secs_f64()),
        }
    }

    /// Whether it asks for workers itself; one without a target is there for the formula.
    pub(crate) fn asks(&self) -> bool {
        let has_target = self.target_per_worker.is_some() || self.target_value.is_some();
        has_target || self.metric == Metric::Latency
    }

    /// `in_formula`: the formula names it, so that it needs no target.
    pub fn check(&self, in_formula: bool) -> Result<(), Problem> {
        if self.name.is_empty() {
            return Err(Problem::new("name", quoted(""), "a name"));
        }
        match (&self.source, self.metric) {
            (Source::Proxy, Metric::Value) => {
                let expected = "one of queue_length, oldest_wait, in_flight, concurrency, \
                                request_rate, latency";
                return Err(Problem::new("metric", "nothing", expected));
            }
            (Source::Named(name), metric) if metric != Metric::Value => {
                let expected = format!("nothing: the source \"{name}\" has one value");
                return Err(Problem::new("metric", "a proxy's metric", expected));
            }
            _ => {}
        }
        check_at_least_a_second("window", self.window)?;
        if self.window > LONGEST_WINDOW {
            let expected = format!("at most \"{LONGEST_WINDOW}\"");
            return Err(Problem::new("window", quoted(self.window), expected));
        }
        let allowed = self.metric.statistics();
        if !allowed.contains(&self.statistic) {
            let words: Vec<_> = allowed.iter().map(Statistic::to_string).collect();
            let expected = format!("one of {} for this metric", words.join(", "));
            return Err(Problem::new("statistic", quoted(self.statistic), expected));
        }
        match in_formula && !self.asks() {
            true => Ok(()),
            false => self.check_target(),
        }
    }

    fn check_target(&self) -> Result<(), Problem> {
        let is_time = self.metric.unit() == Unit::Seconds;
        let wrong = |key, found: String, expected| Err(Problem::new(key, found, expected));
        match (self.target_per_worker, self.target_value) {
            (Some(_), Some(_)) => wrong(
                "target_value",
                "both targets".to_owned(),
                "either target_per_worker or target_value",
            ),
            (Some(target), None) if is_time => wrong(
                "target_per_worker",
                target.to_string(),
                "target_value instead: a time is not shared out among workers",
            ),
            (Some(target), None) if target <= 0.0 => {
                wrong("target_per_worker", target.to_string(), "more than 0")
            }
            (None, Some(TargetValue::Number(target))) if is_time => wrong(
                "target_value",
                target.to_string(),
                "a duration with its unit, such as \"2s\", as this metric is a time",
            ),
            (None, Some(TargetValue::Time(target))) if !is_time => wrong(
                "target_value",
                quoted(target),
                "a number, as this metric is not a time",
            ),
            (None, Some(target)) if target.is_zero() => {
                wrong("target_value", target.to_string(), "more than 0")
            }
            (None, None) if self.metric != Metric::Latency => wrong(
                "target_per_worker",
                "no target".to_owned(),
                "target_per_worker or target_value",
            ),
            _ => Ok(()),
        }
    }
}
