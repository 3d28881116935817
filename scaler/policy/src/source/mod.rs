//! `[[source]]`: one number, asked for again and again, and where it is.

mod access;
mod aws;
mod fallback;
mod series;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};
use url::Url;

use super::quoted;
pub use access::{BasicRule, SignRule};
pub use aws::{MetricRule, QueueRule, QueueValue};
pub use fallback::FallbackRule;
pub use series::{BLANKS, Series};

const LONGEST: Duration = Duration::from_secs(3600);

/// What the names of counters end with, by the conventions of Prometheus.
const OF_COUNTERS: [&str; 4] = ["_total", "_count", "_sum", "_bucket"];

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
    /// A JSON pointer (RFC 6901) to a number in the answer, such as `/queue/depth`; an empty one is
    /// the answer itself.
    #[serde(default)]
    pub pointer: Option<String>,
    /// A metric of a scraped page, with or without labels; all samples that have them add up.
    #[serde(default)]
    pub metric: Option<String>,
    /// The value is a counter, and how fast it grows a second is what is asked for.
    #[serde(default)]
    pub rate: Option<bool>,
    /// Of whom the server's certificate is to be, instead of those that the machine trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// File with a token, which is read anew for each call.
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
    /// Name and password.
    #[serde(default)]
    pub basic: Option<BasicRule>,
    /// Signature of AWS, as a managed Prometheus wants it.
    #[serde(default)]
    pub sigv4: Option<SignRule>,
    /// Sent with each call, such as `X-Scope-OrgID`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
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
    /// What counts when nothing has been known for a while.
    #[serde(default)]
    pub fallback: Option<FallbackRule>,
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
        if let Some(fallback) = &self.fallback {
            let checked = fallback.check();
            checked.map_err(|problem| problem.within("fallback"))?;
        }
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
                    self.check_fresh_for(aws::PERIOD)?;
                }
            }
            (None, None) => return self.check_page(),
        }
        if let Some(url) = &self.url {
            let expected = "nothing: another address of AWS is the endpoint_url of its table";
            return Err(Problem::new("url", quoted(url), expected));
        }
        let given = self.of_pages().into_iter().find(|(_, is_given)| *is_given);
        match given {
            Some((key, _)) => {
                let expected = "nothing: it is for a source with a url";
                Err(Problem::new(key, "a value", expected))
            }
            None => Ok(()),
        }
    }

    /// The keys that only a source with a URL has, and whether this one has them.
    fn of_pages(&self) -> [(&'static str, bool); 6] {
        [
            ("rate", self.rate.is_some()),
            ("ca_file", self.ca_file.is_some()),
            ("bearer_file", self.bearer_file.is_some()),
            ("basic", self.basic.is_some()),
            ("sigv4", self.sigv4.is_some()),
            ("headers", !self.headers.is_empty()),
        ]
    }

    fn check_page(&self) -> Result<(), Problem> {
        let url = self.url.as_deref().unwrap_or_default();
        let is_http = url.starts_with("http://") || url.starts_with("https://");
        if !is_http || Url::parse(url).is_err() || url.contains('@') {
            let expected = "a URL such as \"http://10.0.0.7:9090\", without a password";
            return Err(Problem::new("url", quoted(url), expected));
        }
        if let Some(pointer) = self.pointer.as_ref().filter(|text| !is_pointer(text)) {
            let expected = "a JSON pointer such as \"/queue/depth\", in which ~ stands as ~0 and / \
                            within a name as ~1";
            return Err(Problem::new("pointer", quoted(pointer), expected));
        }
        if self
            .query
            .as_ref()
            .is_some_and(|query| query.trim().is_empty())
        {
            let expected = "an instant query such as \"sum(jobs)\"";
            return Err(Problem::new("query", quoted(""), expected));
        }
        self.check_counter()?;
        self.check_access()
    }

    /// A counter says how much there ever was, so what is wanted of it is how fast it grows.
    fn check_counter(&self) -> Result<(), Problem> {
        if let (Some(_), Some(_)) = (&self.query, self.rate) {
            let expected = "nothing: the query itself says rate(...)";
            return Err(Problem::new("rate", "a value", expected));
        }
        let Some(metric) = &self.metric else {
            return Ok(());
        };
        let Some(series) = Series::whole(metric) else {
            let expected = "a metric's name, with or without labels, such as 'jobs{queue=\"a\"}'";
            return Err(Problem::new("metric", quoted(metric), expected));
        };
        let is_counter = OF_COUNTERS.iter().any(|end| series.name.ends_with(end));
        match is_counter && self.rate.is_none() {
            true => {
                let expected = "rate = true beside it, as its name is a counter's: how fast it \
                                grows a second; or rate = false, if it is none";
                Err(Problem::new("metric", quoted(metric), expected))
            }
            false => Ok(()),
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

    /// Where in an answer its number is, for people.
    pub fn place(&self) -> &str {
        let ways = [&self.query, &self.pointer, &self.metric];
        let given = ways.into_iter().flatten().next();
        given.map_or("", String::as_str)
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

/// RFC 6901, section 3.
fn is_pointer(text: &str) -> bool {
    let is_escaped = |name: &str| {
        let mut tildes = name.split('~').skip(1);
        tildes.all(|rest| rest.starts_with(['0', '1']))
    };
    text.is_empty() || (text.starts_with('/') && is_escaped(text))
}
