//! Answers one request: gets its input, asks the proxy, writes the answer or the failure to S3.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tidegate_http::RequestId;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

use super::places::Written;
use super::{Invocation, Location, Places};
use crate::answer::{Answer, Kind, STREAMED};
use crate::ask::Asking;
use crate::clock::unix_seconds;
use crate::input::Line;
use crate::metrics;
use crate::sagemaker::error::{Refusal, translate};
use crate::sagemaker::understand;
use crate::shared::SharedError;
use crate::work::Shared;

/// Between two tries to write an answer; doubled from one to the other.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long after a request has expired it is tried to write what became of it.
const GIVE_UP_SECONDS: u64 = 24 * 3600;

/// What the proxy's answer is reported as when it was none.
const BAD_GATEWAY: u16 = 502;

/// What is to be written: the worker's answer, or why there is none.
type Outcome = Result<Bytes, Refusal>;

pub struct Answerer {
    places: Places,
    shared: Arc<Shared>,
}

/// How the work on a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its answer or failure is where it belongs.
    Delivered,
    /// The process stops; the request is for another time.
    Stopped,
}

/// The one line of an answer.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    response: Option<Responded<'a>>,
    error: Option<Failed>,
}

#[derive(Deserialize)]
struct Responded<'a> {
    status_code: u16,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Failed {
    code: String,
    message: String,
}

impl Answerer {
    pub fn new(places: Places, shared: Arc<Shared>) -> Answerer {
        Answerer { places, shared }
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Works on a request until its answer is written, or `stop` says that the process ends.
    ///
    /// # Errors
    /// When its input cannot be read at the moment.
    pub async fn run<S: Future<Output = ()>>(
        &self,
        owner: &str,
        invocation: &Invocation,
        body: Option<Bytes>,
        stop: impl Fn() -> S,
    ) -> Result<Ended, SharedError> {
        let places = &self.places;
        if places.has(&invocation.output).await && !invocation.is_named
            || places.has(&invocation.failure).await
        {
            return Ok(Ended::Delivered);
        }
        let left = invocation.expires_at.saturating_sub(unix_seconds());
        let expired = Instant::now() + Duration::from_secs(left);
        let stopped = async {
            stop().await;
            // What is at the proxy may be answered.
            sleep(self.shared.grace).await;
        };
        let outcome = tokio::select! {
            outcome = self.outcome(owner, invocation, body, stop()) => outcome?,
            () = stopped => None,
            () = sleep_until(expired) => Some(Err(Refusal::Unavailable(
                "the request was not answered within RequestTTLSeconds".to_owned(),
            ))),
        };
        match outcome {
            Some(outcome) => Ok(self.deliver(invocation, outcome, stop()).await),
            None => Ok(Ended::Stopped),
        }
    }

    /// What is to be written. `None` when the process stops before there is anything.
    async fn outcome(
        &self,
        owner: &str,
        invocation: &Invocation,
        body: Option<Bytes>,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Outcome>, SharedError> {
        let (body, _room) = match (&invocation.input, body) {
            (Some(input), _) => match self.places.read(input, &self.shared).await {
                Ok(Some((body, room))) => (Bytes::from(body), Some(room)),
                Ok(None) => {
                    return Ok(Some(Err(unreadable(
                        input,
                        "NoSuchKey: there is no such object",
                    ))));
                }
                Err(error) if error.is_final() => return Ok(Some(Err(unreadable(input, &error)))),
                Err(error) => return Err(error),
            },
            (None, body) => (body.unwrap_or_default(), None),
        };
        let line = match understand(&body, &invocation.model) {
            Ok((endpoint, body)) => Line {
                number: 1,
                custom_id: invocation.name.clone(),
                endpoint,
                body: body.into(),
            },
            Err(refusal) => return Ok(Some(Err(refusal))),
        };
        let asking = Asking {
            batch: &invocation.id,
            owner,
            request_id: [&invocation.name, &invocation.id]
                .into_iter()
                .map(String::as_str)
                .find(|id| RequestId::stated(id.as_bytes()).is_some()),
            timeout: Some(Duration::from_secs(invocation.timeout_seconds)),
        };
        let answer = self.shared.asker.ask(&line, asking, stop).await;
        Ok(answer.map(|answer| result(&answer, &invocation.endpoint)))
    }

    /// Writes an answer, or why there is none, however long S3 cannot be reached.
    async fn deliver(
        &self,
        invocation: &Invocation,
        outcome: Outcome,
        stop: impl Future<Output = ()>,
    ) -> Ended {
        let id = &invocation.id;
        let mut stop = std::pin::pin!(stop);
        let mut wait = SHORTEST_WAIT;
        loop {
            let written = tokio::select! {
                biased;
                written = self.write(invocation, outcome.clone()) => written,
                () = &mut stop => return Ended::Stopped,
            };
            let Err(cause) = written else {
                return Ended::Delivered;
            };
            if unix_seconds() > invocation.expires_at + GIVE_UP_SECONDS {
                error!(
                    id, error = %cause,
                "neither answer nor failure can be written, and the request is given up"
                );
                return Ended::Delivered;
            }
            warn!(
                id, error = %cause,
            "an answer cannot be written to S3 and is tried again"
            );
            tokio::select! {
                () = sleep(wait) => wait = (2 * wait).min(LONGEST_WAIT),
                () = &mut stop => return Ended::Stopped,
            }
        }
    }

    async fn write(&self, invocation: &Invocation, outcome: Outcome) -> Result<(), SharedError> {
        let Invocation { id, output, .. } = invocation;
        let refusal = match outcome {
            Ok(answer) => match self.places.write(invocation, output, answer).await {
                Ok(Written::Done) => {
                    info!(id, "answered");
                    return Ok(());
                }
                Ok(Written::Taken) => {
                    let words = format!("Filename: the answer to another request is at {output}");
                    Refusal::Validation(words)
                }
                Err(error) if error.is_final() => Refusal::Validation(format!(
                    "the answer cannot be written to {output}: {error}"
                )),
                Err(error) => return Err(error),
            },
            Err(refusal) => refusal,
        };
        warn!(id, error = refusal.text(), "failed");
        let text = Bytes::from(refusal.as_object().to_string());
        let failure = &invocation.failure;
        self.places.write(invocation, failure, text).await?;
        Ok(())
    }
}

/// The worker's own words, or how SageMaker's runtime says that there are none.
fn result(answer: &Answer, endpoint: &str) -> Outcome {
    metrics::answered(answer.kind, answer.tokens);
    let found: Found = serde_json::from_slice(&answer.text)
        .map_err(|error| Refusal::Internal(error.to_string()))?;
    match (answer.kind, found.response, found.error) {
        (Kind::Output, Some(response), _) => {
            Ok(Bytes::copy_from_slice(response.body.get().as_bytes()))
        }
        (_, Some(response), _) => {
            let body = response.body.get().as_bytes();
            Err(translate(response.status_code, body, endpoint))
        }
        (_, None, Some(error)) if error.code == STREAMED => Err(Refusal::Validation(error.message)),
        (_, None, error) => Err(Refusal::Model {
            status: BAD_GATEWAY,
            message: error.map(|error| error.message).unwrap_or_default(),
        }),
    }
}

fn unreadable(input: &Location, cause: impl std::fmt::Display) -> Refusal {
    Refusal::Validation(format!("InputLocation {input} cannot be read: {cause}"))
}
