//! Values from beside the proxies: a Prometheus query, a scraped metric, a field of any JSON.
//!
//! Each source has a task of its own that asks at its own pace, so that a slow one delays no
//! tick. What it said counts as long as it is fresh; after that the law knows that it does not know.

use std::collections::BTreeMap;
use std::time::Duration as Span;

use metrics::gauge;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use tidegate_config::{Duration, Problem};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::http;

const LARGEST_ANSWER_BYTES: usize = 4 << 20;

/// `[[source]]`: one number, asked for again and again.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRule {
    /// How signals call it.
    pub name: String,
    /// With `query` the base URL of a Prometheus; otherwise the page itself.
    pub url: String,
    /// An instant query that comes to one number.
    #[serde(default)]
    pub query: Option<String>,
    /// A JSON pointer (RFC 6901) to a number in the answer, such as `/queue/depth`.
    #[serde(default)]
    pub pointer: Option<String>,
    /// A metric of a scraped page, with or without labels; several of its samples add up.
    #[serde(default)]
    pub metric: Option<String>,
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

impl SourceRule {
    pub fn check(&self) -> Result<(), Problem> {
        let quoted = |text: &str| format!("\"{text}\"");
        if self.name.is_empty() || self.name == "proxy" {
            let expected = "a name other than \"proxy\"";
            return Err(Problem::new("name", quoted(&self.name), expected));
        }
        let is_plain = self.url.starts_with("http://");
        if !is_plain || Url::parse(&self.url).is_err() || self.url.contains('@') {
            let expected = "a URL such as \"http://10.0.0.7:9090\", without a password";
            return Err(Problem::new("url", quoted(&self.url), expected));
        }
        let ways = [&self.query, &self.pointer, &self.metric];
        if ways.iter().filter(|way| way.is_some()).count() != 1 {
            let expected = "one of query, pointer and metric";
            return Err(Problem::new("query", "none or several of them", expected));
        }
        if let Some(pointer) = self.pointer.as_ref().filter(|p| !p.starts_with('/')) {
            let expected = "a JSON pointer such as \"/queue/depth\"";
            return Err(Problem::new("pointer", quoted(pointer), expected));
        }
        for (key, duration, least) in [
            ("every", self.every, 1),
            ("timeout", self.timeout, 0),
            ("fresh_for", self.fresh_for, 1),
        ] {
            let bounds = Duration::from_secs(least)..=Duration::from_secs(3600);
            if duration.is_zero() || !bounds.contains(&duration) {
                let expected = "1s to 1h; a timeout may be shorter";
                return Err(Problem::new(key, quoted(&duration.to_string()), expected));
            }
        }
        match self.fresh_for < self.every {
            true => {
                let expected = format!("at least every, which is {}", self.every);
                let found = quoted(&self.fresh_for.to_string());
                Err(Problem::new("fresh_for", found, expected))
            }
            false => Ok(()),
        }
    }
}

/// Why a source gave no number.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    #[error("it cannot be asked: {0}")]
    Call(#[from] reqwest::Error),
    #[error("it does not answer within {0:?}")]
    Slow(Span),
    #[error("its answer is longer than {LARGEST_ANSWER_BYTES} bytes")]
    Large,
    #[error("its answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    #[error("{found} instead of one number at {place}")]
    NotANumber { place: String, found: String },
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
                task: tokio::spawn(ask_on(rule.clone(), send)),
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

async fn ask_on(rule: SourceRule, send: watch::Sender<Reading>) {
    let client = http::client();
    let mut pace = tokio::time::interval(rule.every.into());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        pace.tick().await;
        match ask(&client, &rule).await {
            Ok(value) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("source {} answers again", rule.name);
                }
                send.send_replace(Some((Instant::now(), value)));
            }
            Err(fault) if !failing => {
                failing = true;
                tracing::warn!(
                    "source {} ({}) gives no value: {fault}",
                    rule.name,
                    rule.url
                );
            }
            Err(_) => {}
        }
    }
}

/// Asks once.
///
/// # Errors
/// When there is no answer in time, or no number in it.
pub async fn ask(client: &Client, rule: &SourceRule) -> Result<f64, SourceFault> {
    let limit = Span::from(rule.timeout);
    let call = async {
        let request = match &rule.query {
            Some(query) => {
                let base = rule.url.trim_end_matches('/');
                let request = client.post(format!("{base}/api/v1/query"));
                let body: String = form(&[("query", query)]);
                let kind = "application/x-www-form-urlencoded";
                request.header("content-type", kind).body(body)
            }
            None => client.get(&rule.url),
        };
        let response = request.send().await?.error_for_status()?;
        body(response).await
    };
    let bytes = tokio::time::timeout(limit, call)
        .await
        .map_err(|_| SourceFault::Slow(limit))??;
    read(rule, &bytes)
}

fn form(pairs: &[(&str, &str)]) -> String {
    let url = Url::parse_with_params("http://form", pairs);
    url.ok()
        .and_then(|url| url.query().map(str::to_owned))
        .unwrap_or_default()
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, SourceFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST_ANSWER_BYTES {
            return Err(SourceFault::Large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn read(rule: &SourceRule, bytes: &[u8]) -> Result<f64, SourceFault> {
    let (place, value) = match (&rule.query, &rule.pointer, &rule.metric) {
        (Some(query), _, _) => {
            let answer: Value = serde_json::from_slice(bytes)?;
            (query.clone(), sample(&answer))
        }
        (_, Some(pointer), _) => {
            let answer: Value = serde_json::from_slice(bytes)?;
            let value = answer.pointer(pointer).and_then(number);
            (pointer.clone(), value)
        }
        (_, _, Some(metric)) => {
            let page = String::from_utf8_lossy(bytes);
            (metric.clone(), scraped(&page, metric))
        }
        _ => (String::new(), None),
    };
    value.filter(|value| value.is_finite()).ok_or_else(|| {
        let text = String::from_utf8_lossy(bytes);
        let found = format!("\"{}\"", text.chars().take(80).collect::<String>().trim());
        SourceFault::NotANumber { place, found }
    })
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// The only sample of an instant query's answer.
fn sample(answer: &Value) -> Option<f64> {
    let result = answer.pointer("/data/result")?;
    let of_vector = match result.as_array().map(Vec::as_slice) {
        Some([only]) => only.get("value"),
        _ => None,
    };
    number(of_vector.unwrap_or(result).get(1)?)
}

/// The sum of a metric's samples in a page of the Prometheus text format.
fn scraped(page: &str, metric: &str) -> Option<f64> {
    let of_metric = |line: &str| {
        let rest = line.strip_prefix(metric)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    };
    let mut samples = page.lines().filter_map(of_metric).peekable();
    samples.peek()?;
    Some(samples.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(way: &str) -> SourceRule {
        let text = format!("name = 's'\nurl = 'http://127.0.0.1:1'\n{way}");
        serde_json::from_value(toml_to_json(&text)).expect("a rule")
    }

    fn toml_to_json(text: &str) -> Value {
        let pairs = text.lines().filter_map(|line| line.split_once(" = "));
        pairs
            .map(|(key, value)| (key.to_owned(), Value::from(value.trim_matches('\''))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn found(way: &str, answer: &str) -> Option<f64> {
        read(&rule(way), answer.as_bytes()).ok()
    }

    #[test]
    fn a_number_is_found_in_each_kind_of_answer() {
        let vector =
            r#"{"data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"42"]}]}}"#;
        assert_eq!(found("query = 'up'", vector), Some(42.0));
        let scalar = r#"{"data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
        assert_eq!(found("query = 'up'", scalar), Some(7.0));
        assert_eq!(found("query = 'up'", r#"{"data":{"result":[]}}"#), None);
        let json = r#"{"queue":{"depth":12,"name":"x"}}"#;
        assert_eq!(found("pointer = '/queue/depth'", json), Some(12.0));
        assert_eq!(found("pointer = '/queue/name'", json), None);
        assert_eq!(found("pointer = '/queue'", "not json"), None);
        let page = "# HELP jobs x\njobs{q=\"a b\"} 3\njobs{q=\"c\"} 4 1700000000\njobs_total 9\n";
        assert_eq!(found("metric = 'jobs'", page), Some(7.0));
        assert_eq!(found("metric = 'jobs{q=\"c\"}'", page), Some(4.0));
        assert_eq!(found("metric = 'job'", page), None);
        assert_eq!(found("metric = 'jobs'", "jobs NaN\n"), None);
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        assert!(rule("query = 'up'").check().is_ok());
        for way in ["", "query = 'up'\npointer = '/a'", "pointer = 'a'"] {
            assert!(rule(way).check().is_err(), "{way}");
        }
        let fast = SourceRule {
            every: Duration::from_secs(90),
            ..rule("query = 'up'")
        };
        assert!(fast.check().is_err(), "fresh_for is shorter");
    }
}
