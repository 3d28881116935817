//! `[[source]]`: one number, asked for again and again, and where it is.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};
use url::Url;

use super::{AwsEndpoint, quoted};

const LONGEST: Duration = Duration::from_secs(3600);

/// A source in CloudWatch needs `fresh_for` to be twice as long.
const LONGEST_PERIOD: Duration = Duration::from_secs(1800);

/// `[[source]]`: one number, asked for again and again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRule {
    /// How signals call it.
    pub name: String,
    /// With `query` the base URL of a Prometheus; with `pointer` and `metric` the page itself.
    #[serde(default)]
    pub url: Option<String>,
    /// An instant query that comes to one number.
    #[serde(default)]
    pub query: Option<String>,
    /// A JSON pointer (RFC 6901) to a number in the answer, such as `/queue/depth`.
    #[serde(default)]
    pub pointer: Option<String>,
    /// A metric of a scraped page, with or without labels; several of its samples add up.
    #[serde(default)]
    pub metric: Option<String>,
    /// A metric in CloudWatch.
    #[serde(default)]
    pub cloudwatch: Option<MetricRule>,
    /// A queue of SQS.
    #[serde(default)]
    pub sqs: Option<QueueRule>,
    #[serde(default = "default_every")]
    pub every: Duration,
    /// For one call.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// A value that is older is not known any more.
    #[serde(default = "default_fresh_for")]
    pub fresh_for: Duration,
}

fn default_every() -> Duration {
    Duration::from_secs(10)
}

fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_fresh_for() -> Duration {
    Duration::from_secs(60)
}

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
    Duration::from_secs(60)
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
    /// Seconds since the oldest message came, by CloudWatch: a minute or two late.
    Age,
}

impl SourceRule {
    pub fn check(&self) -> Result<(), Problem> {
        if self.name.is_empty() || self.name == "proxy" {
            let expected = "a name other than \"proxy\"";
            return Err(Problem::new("name", quoted(&self.name), expected));
        }
        let ways = [&self.query, &self.pointer, &self.metric];
        let pages = ways.iter().filter(|way| way.is_some()).count();
        let aws = usize::from(self.cloudwatch.is_some()) + usize::from(self.sqs.is_some());
        if pages + aws != 1 {
            let expected = "one of query, pointer, metric, cloudwatch and sqs";
            return Err(Problem::new("query", "none or several of them", expected));
        }
        self.check_times()?;
        match (&self.cloudwatch, &self.sqs) {
            (Some(rule), _) => {
                let checked = rule.check();
                checked.map_err(|problem| problem.within("cloudwatch"))?;
                self.check_fresh_for(rule.period)?;
            }
            (_, Some(rule)) => {
                let checked = rule.check();
                checked.map_err(|problem| problem.within("sqs"))?;
                if rule.value == QueueValue::Age {
                    self.check_fresh_for(default_period())?;
                }
            }
            (None, None) => return self.check_page(),
        }
        match &self.url {
            Some(url) => Err(Problem::new(
                "url",
                quoted(url),
                "nothing: another address of AWS is the endpoint_url of its table",
            )),
            None => Ok(()),
        }
    }

    fn check_page(&self) -> Result<(), Problem> {
        let url = self.url.as_deref().unwrap_or_default();
        let is_plain = url.starts_with("http://");
        if !is_plain || Url::parse(url).is_err() || url.contains('@') {
            let expected = "a URL such as \"http://10.0.0.7:9090\", without a password";
            return Err(Problem::new("url", quoted(url), expected));
        }
        match self.pointer.as_ref().filter(|p| !p.starts_with('/')) {
            Some(pointer) => {
                let expected = "a JSON pointer such as \"/queue/depth\"";
                Err(Problem::new("pointer", quoted(pointer), expected))
            }
            None => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), Problem> {
        for (key, duration, least) in [
            ("every", self.every, 1),
            ("timeout", self.timeout, 0),
            ("fresh_for", self.fresh_for, 1),
        ] {
            let bounds = Duration::from_secs(least)..=LONGEST;
            if duration.is_zero() || !bounds.contains(&duration) {
                let expected = "1s to 1h; a timeout may be shorter";
                return Err(Problem::new(key, quoted(duration), expected));
            }
        }
        match self.fresh_for < self.every {
            true => {
                let expected = format!("at least every, which is {}", self.every);
                Err(Problem::new("fresh_for", quoted(self.fresh_for), expected))
            }
            false => Ok(()),
        }
    }

    /// A period's value is as old as the period already when the next one is whole.
    fn check_fresh_for(&self, period: Duration) -> Result<(), Problem> {
        match *self.fresh_for < *period * 2 {
            true => {
                let expected = format!(
                    "at least twice the period, which is {period}: CloudWatch gives whole periods, \
                     and late"
                );
                Err(Problem::new("fresh_for", quoted(self.fresh_for), expected))
            }
            false => Ok(()),
        }
    }

    /// Where it is, for people.
    pub fn whereabouts(&self) -> String {
        match (&self.url, &self.cloudwatch, &self.sqs) {
            (Some(url), _, _) => url.clone(),
            (_, Some(rule), _) => format!("CloudWatch: {}", rule.what()),
            (_, _, Some(rule)) => format!("SQS: {}", rule.queue),
            _ => String::new(),
        }
    }
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

    fn check(&self) -> Result<(), Problem> {
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
            period: default_period(),
            region: self.region.clone(),
            endpoint_url: self.endpoint_url.clone(),
        }
    }

    fn check(&self) -> Result<(), Problem> {
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
