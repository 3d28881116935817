//! A value in a page: a Prometheus query, a scraped metric, a field of any JSON.

use std::time::Duration as Span;

use reqwest::{Client, Url};
use serde_json::Value;

use async_trait::async_trait;
use tidegate_policy::SourceRule;

use super::{Ask, Sample, SourceFault};
use crate::http;

pub const LARGEST_ANSWER_BYTES: usize = 4 << 20;

/// Reads one number of one page.
pub struct PageReader {
    client: Client,
    rule: SourceRule,
}

impl PageReader {
    pub fn new(rule: &SourceRule) -> PageReader {
        PageReader {
            client: http::client(),
            rule: rule.clone(),
        }
    }
}

/// # Errors
/// When there is no answer in time, or no number in it.
#[async_trait]
impl Ask for PageReader {
    async fn ask(&mut self) -> Result<Sample, SourceFault> {
        ask(&self.client, &self.rule).await.map(Sample::new)
    }
}

async fn ask(client: &Client, rule: &SourceRule) -> Result<f64, SourceFault> {
    let limit = Span::from(rule.timeout);
    let url = rule.url.as_deref().unwrap_or_default();
    let call = async {
        let request = match &rule.query {
            Some(query) => {
                let base = url.trim_end_matches('/');
                let request = client.post(format!("{base}/api/v1/query"));
                let body: String = form(&[("query", query)]);
                let kind = "application/x-www-form-urlencoded";
                request.header("content-type", kind).body(body)
            }
            None => client.get(url),
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
    use tidegate_config::Duration;

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
