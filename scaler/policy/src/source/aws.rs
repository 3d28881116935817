//! Sources on AWS: a metric of CloudWatch, a queue of SQS.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use crate::{AwsEndpoint, quoted};

/// What CloudWatch keeps of the metrics of AWS' own services.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// A source in CloudWatch needs `fresh_for` to be twice as long.
const LONGEST_PERIOD: Duration = Duration::from_secs(1800);

/// One metric of CloudWatch, or an expression that comes to one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricRule {
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub metric: Option<String>,
    /// All that the metric has: without one of them it is another metric.
    #[serde(default)]
    pub dimensions: BTreeMap<String, String>,
    /// `Average`, `Sum`, `p95` and so on.
    #[serde(default)]
    pub statistic: Option<String>,
    /// Instead of a metric, such as `SELECT SUM(Orders) FROM Shop`.
    #[serde(default)]
    pub expression: Option<String>,
    /// The newest whole period counts.
    #[serde(default = "default_period")]
    pub period: Duration,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub endpoint_url: Option<String>,
}

fn default_period() -> Duration {
    PERIOD
}

/// One queue of SQS.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueRule {
    /// Its name, or its URL where it is another account's.
    pub queue: String,
    #[serde(default)]
    pub value: QueueValue,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub endpoint_url: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueValue {
    /// Messages that wait: `ApproximateNumberOfMessagesVisible` in CloudWatch.
    #[default]
    Depth,
    /// Messages that somebody works at: `ApproximateNumberOfMessagesNotVisible`.
    InFlight,
    /// Messages that are not to be seen yet: `ApproximateNumberOfMessagesDelayed`.
    Delayed,
    /// Those that wait and those that somebody works at: the work that there is.
    Unfinished,
    /// And those that are not to be seen yet.
    All,
    /// Seconds since the oldest message came, by CloudWatch: a minute or two late.
    Age,
}

impl MetricRule {
    /// What is asked for, for people.
    pub fn what(&self) -> String {
        let named = |text: &Option<String>| text.clone().unwrap_or_default();
        match &self.expression {
            Some(expression) => expression.clone(),
            None => format!("{} {}", named(&self.namespace), named(&self.metric)),
        }
    }

    pub fn endpoint(&self) -> AwsEndpoint {
        AwsEndpoint {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let of_metric = [&self.namespace, &self.metric, &self.statistic];
        let named = of_metric.iter().filter(|part| part.is_some()).count();
        let is_whole = match &self.expression {
            Some(text) => named == 0 && self.dimensions.is_empty() && !text.trim().is_empty(),
            None => named == 3,
        };
        if !is_whole {
            let expected = "namespace, metric and statistic, or an expression alone";
            return Err(Problem::new(
                "metric",
                "something else than these",
                expected,
            ));
        }
        let period = self.period.as_secs_f64();
        let whole_minutes = period >= 60.0 && period % 60.0 == 0.0;
        if !(whole_minutes || [1.0, 5.0, 10.0, 30.0].contains(&period))
            || self.period > LONGEST_PERIOD
        {
            let expected = format!("1s, 5s, 10s, 30s, or whole minutes up to {LONGEST_PERIOD}");
            return Err(Problem::new("period", quoted(self.period), expected));
        }
        if let Some(text) = self.statistic.as_ref().filter(|text| !is_statistic(text)) {
            let expected = "Average, Sum, Minimum, Maximum, SampleCount, or a percentile such as \
                            \"p95\"";
            return Err(Problem::new("statistic", quoted(text), expected));
        }
        self.endpoint().check()
    }
}

fn is_statistic(text: &str) -> bool {
    let simple = ["Average", "Sum", "Minimum", "Maximum", "SampleCount"];
    let percentile = text.strip_prefix('p').and_then(|text| text.parse().ok());
    simple.contains(&text) || percentile.is_some_and(|p: f64| (0.0..=100.0).contains(&p))
}

impl QueueRule {
    /// Without what comes before it in a URL.
    pub fn name(&self) -> &str {
        self.queue.rsplit('/').next().unwrap_or(&self.queue)
    }

    pub fn endpoint(&self) -> AwsEndpoint {
        AwsEndpoint {
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    /// The metric with the age of its oldest message.
    pub fn age(&self) -> MetricRule {
        let name = ("QueueName".to_owned(), self.name().to_owned());
        MetricRule {
            namespace: Some("AWS/SQS".to_owned()),
            metric: Some("ApproximateAgeOfOldestMessage".to_owned()),
            dimensions: BTreeMap::from([name]),
            statistic: Some("Maximum".to_owned()),
            expression: None,
            period: PERIOD,
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let name = self.name();
        let is_url = self.queue.starts_with("https://") || self.queue.starts_with("http://");
        let is_name = (1..=80).contains(&name.len()) && name.bytes().all(allowed);
        if !is_name || (!is_url && name != self.queue) {
            let expected = "a queue's name or URL";
            return Err(Problem::new("queue", quoted(&self.queue), expected));
        }
        self.endpoint().check()
    }
}
