//! Sends one line to the proxy until it has an answer.
//!
//! If no proxy or no worker is available, the line is sent again until the batch ends. An attempt that
//! fails at a worker counts: a line has a limited number, and all lines together have a budget, so that
//! a broken fleet does not get each line many times.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use tidegate_protocol::REQUEST_ID_HEADER;
use tidegate_telemetry::{Kind, Span};
use tracing::{error, warn};

use crate::answer::{Answer, NoAnswer};
use crate::config::{ProxyRules, Unusable, read_private};
use crate::gate::Gate;
use crate::input::Line;
use crate::metrics;
use crate::trace;

/// On a request: the class in which the proxy queues it.
const CLASS_HEADER: &str = "x-priority";
pub const CLASS: &str = "batch";

/// On a request: how long the proxy may take, in milliseconds.
const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Beyond the proxy's own deadline, for its answer to arrive.
const GRACE: Duration = Duration::from_secs(15);

/// A proxy that was started just now knows a model from its workers' next heartbeats on.
const MODEL_GRACE: Duration = Duration::from_secs(3);

const LONGEST_KEY: usize = 4096;

/// Characters of a refusal that is not JSON.
const MOST_WORDS: usize = 1000;

pub struct Asker {
    http: Client,
    url: Url,
    key: Option<String>,
    rules: ProxyRules,
    pub gate: Gate,
    budget: Mutex<Budget>,
}

/// For whom a line is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The batch that it is of; part of the answer's id.
    pub batch: &'a str,
    /// Whose batch it is: keys take turns.
    pub owner: &'a str,
    /// By which the proxy and the worker name the request; without one the proxy makes one for each try.
    pub request_id: Option<&'a str>,
    /// How long a try may take, where that is less than `proxy.line_timeout`.
    pub timeout: Option<Duration>,
}

/// What one try came to.
enum Tried {
    /// That is the line's answer.
    Answered(Answer),
    /// Nobody took it; no work was begun.
    Refused {
        retry_after: Option<Duration>,
        reason: String,
    },
    /// The proxy does not know the model, or not yet. What to say when it stays so.
    NoModel(Answer),
    /// It was begun and came to nothing. What to say when there is no other try.
    Failed(Answer),
}

impl Asker {
    pub fn new(rules: &ProxyRules) -> anyhow::Result<Asker> {
        let url = Url::parse(&rules.url).with_context(|| format!("proxy.url {}", rules.url))?;
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(*rules.line_timeout + GRACE)
            .build()
            .context("the client of the proxy cannot be set up")?;
        Ok(Asker {
            http,
            url,
            key: rules.key_file.as_deref().map(read_key).transpose()?,
            gate: Gate::new(rules.concurrency),
            budget: Mutex::new(Budget::new(rules.retry_ratio, rules.retry_burst)),
            rules: rules.clone(),
        })
    }

    /// Where the proxy is, and the key that it wants.
    pub fn proxy(&self) -> (Url, Option<String>) {
        (self.url.clone(), self.key.clone())
    }

    /// Asks until there is an answer. `None` when `stop` ends first; what is at the proxy by then
    /// is waited for.
    pub async fn ask(
        &self,
        line: &Line,
        asking: Asking<'_>,
        stop: impl Future<Output = ()>,
    ) -> Option<Answer> {
        if is_stream(line) {
            return Some(Answer::none(line, asking.batch, NoAnswer::Streamed));
        }
        let span = trace::line(line, asking.batch);
        self.budget(Budget::earn);
        let (mut failures, mut has_waited) = (0, false);
        let mut stop = std::pin::pin!(stop);
        loop {
            let permit = tokio::select! {
                biased;
                () = &mut stop => return None,
                permit = self.gate.enter(asking.owner) => permit,
            };
            match self.try_once(line, asking, &span).await {
                Tried::Answered(answer) => {
                    permit.answered();
                    return Some(answer);
                }
                Tried::Refused {
                    retry_after,
                    reason,
                } => permit.refused(retry_after, &reason),
                Tried::NoModel(answer) => {
                    permit.answered();
                    if std::mem::replace(&mut has_waited, true) {
                        return Some(answer);
                    }
                    tokio::select! {
                        () = &mut stop => return None,
                        () = tokio::time::sleep(MODEL_GRACE) => {}
                    }
                }
                Tried::Failed(answer) => {
                    permit.answered();
                    failures += 1;
                    if failures >= self.rules.tries || !self.budget(Budget::spend) {
                        return Some(answer);
                    }
                }
            }
            metrics::retried();
        }
    }

    async fn try_once(&self, line: &Line, asking: Asking<'_>, span: &Span) -> Tried {
        let Asking {
            batch,
            timeout,
            request_id,
            ..
        } = asking;
        let most = *self.rules.line_timeout;
        let timeout = timeout.map_or(most, |timeout| timeout.min(most));
        let mut url = self.url.clone();
        url.set_path(line.endpoint.path());
        let mut request = (self.http.post(url))
            .header(CONTENT_TYPE, "application/json")
            .header(CLASS_HEADER, CLASS)
            .header(TIMEOUT_HEADER, timeout.as_millis() as u64)
            .timeout(timeout + GRACE)
            .body(line.body.clone());
        if let Some(id) = request_id {
            request = request.header(REQUEST_ID_HEADER, id);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let mut attempt = span.child(Kind::Client, "POST");
        request = trace::told(request, &attempt);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                attempt.fail("no_answer");
                // Not even connected: nothing was begun.
                return match error.is_connect() {
                    true => Tried::Refused {
                        retry_after: None,
                        reason: format!("{} cannot be reached", self.url),
                    },
                    false => Tried::Failed(Answer::none(line, batch, NoAnswer::Broken)),
                };
            }
        };
        trace::answered(&mut attempt, response.status());
        if let Some(refused) = refusal(&response) {
            return refused;
        }
        match self.read(line, batch, response).await {
            // Nobody is there, whatever the model.
            Tried::NoModel(_) if !self.has_models().await => Tried::Refused {
                retry_after: None,
                reason: "no worker has announced a model".to_owned(),
            },
            tried => tried,
        }
    }

    /// Whether the proxy knows any model at the moment.
    async fn has_models(&self) -> bool {
        #[derive(Deserialize)]
        struct Models {
            data: Vec<serde::de::IgnoredAny>,
        }
        let mut url = self.url.clone();
        url.set_path("/v1/models");
        let mut request = self.http.get(url).timeout(CONNECT_TIMEOUT);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let Ok(answer) = request.send().await else {
            return false;
        };
        let body = answer.bytes().await.unwrap_or_default();
        serde_json::from_slice::<Models>(&body).is_ok_and(|models| !models.data.is_empty())
    }

    async fn read(&self, line: &Line, batch: &str, mut response: Response) -> Tried {
        let status = response.status();
        let none = |why| Answer::none(line, batch, why);
        let id = response.headers().get(REQUEST_ID_HEADER).cloned();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.rules.answer_bytes => {
                    return Tried::Answered(none(NoAnswer::TooLarge));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => return Tried::Failed(none(NoAnswer::Broken)),
            }
        }
        let id = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or("");
        let of = |body: &[u8]| Answer::of(line, batch, status.as_u16(), id, body);
        let answer = of(&body).or_else(|| match status.is_success() {
            true => None,
            false => of(&refusal_in_words(status, &body)),
        });
        let answer = answer.unwrap_or_else(|| none(NoAnswer::NotJson));
        match status {
            StatusCode::NOT_FOUND if names_no_model(&body) => Tried::NoModel(answer),
            status if status.is_server_error() => Tried::Failed(answer),
            _ => Tried::Answered(answer),
        }
    }

    fn budget<T>(&self, act: impl FnOnce(&mut Budget) -> T) -> T {
        act(&mut self.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the proxy has nobody for it now.
fn refusal(response: &Response) -> Option<Tried> {
    let refused = Tried::Refused {
        retry_after: retry_after(response.headers()),
        reason: format!("it answers {}", response.status()),
    };
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            error!(
                "the proxy refuses the key of this service (proxy.key_file); no line is answered"
            );
            Some(refused)
        }
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Some(refused),
        _ => None,
    }
}

/// A refusal that is not JSON, as JSON.
fn refusal_in_words(status: StatusCode, body: &[u8]) -> Vec<u8> {
    let text: String = String::from_utf8_lossy(body)
        .trim()
        .chars()
        .take(MOST_WORDS)
        .collect();
    let message = match text.is_empty() {
        true => status.canonical_reason().unwrap_or("refused").to_owned(),
        false => text,
    };
    json!({"error": {"message": message}}).to_string().into()
}

/// Whether a refusal is about the model that the line names.
fn names_no_model(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["error"]["code"] == "model_not_found"
}

/// `retry-after-ms`, or else whole seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let ms = number("retry-after-ms").map(Duration::from_millis);
    ms.or_else(|| number(RETRY_AFTER.as_str()).map(Duration::from_secs))
}

fn is_stream(line: &Line) -> bool {
    #[derive(Deserialize)]
    struct Body {
        stream: Option<bool>,
    }
    let body: Option<Body> = serde_json::from_slice(&line.body).ok();
    body.and_then(|body| body.stream) == Some(true)
}

fn read_key(file: &Path) -> Result<String, Unusable> {
    let text = read_private("proxy.key_file", file)?;
    let key = text.trim();
    let is_key =
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match is_key {
        true => Ok(key.to_owned()),
        false => Err(Unusable(format!(
            "proxy.key_file {}: expected one key, of printable ASCII without spaces",
            file.display()
        ))),
    }
}

/// Tries that may be paid for beyond the first: some to begin with, and a share of each line. In
/// thousandths, so that shares add up.
#[derive(Debug)]
struct Budget {
    earned: u64,
    most: u64,
    left: u64,
    was_empty: bool,
}

/// Thousandths.
const ONE_TRY: u64 = 1000;

impl Budget {
    fn new(ratio: f64, burst: u32) -> Budget {
        let most = u64::from(burst) * ONE_TRY;
        Budget {
            earned: (ratio * ONE_TRY as f64).round() as u64,
            most,
            left: most,
            was_empty: false,
        }
    }

    fn earn(&mut self) {
        self.left = (self.left + self.earned).min(self.most);
    }

    fn spend(&mut self) -> bool {
        let may = self.left >= ONE_TRY;
        if may {
            self.left -= ONE_TRY;
        } else if !self.was_empty {
            self.was_empty = true;
            warn!("too many lines fail; for now none is retried (proxy.retry_ratio)");
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_the_lines() {
        let mut budget = Budget::new(0.2, 3);
        assert_eq!((0..10).filter(|_| budget.spend()).count(), 3);
        (0..10).for_each(|_| budget.earn());
        assert_eq!((0..10).filter(|_| budget.spend()).count(), 2);
    }

    #[test]
    fn milliseconds_go_before_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "3".parse().expect("a value"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(3)));
        headers.insert("retry-after-ms", "250".parse().expect("a value"));
        assert_eq!(retry_after(&headers), Some(Duration::from_millis(250)));
    }
}
