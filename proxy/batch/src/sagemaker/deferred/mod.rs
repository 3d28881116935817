//! `invoke_endpoint_async`: accepts a request whose answer the client fetches later.
//!
//! With a place in S3 for answers a request is an [`Invocation`], whose input may be in S3 too. Without one it
//! is a batch of one line in this machine's store, and the locations are URLs of this service instead
//! of objects: 404 until the answer is there. Their names are random, and anybody who knows one may read
//! it. Either way it survives kills, waits while the fleet has no worker and is retried as lines are.

mod asked;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tracing::error;

use self::asked::Asked;
use super::{Answerer, Invocation, Refusal, Runtime, finish, text, translate, understand};
use crate::clock::unix_seconds;
use crate::id;
use crate::input::Endpoint;
use crate::serve::Backing;
use crate::store::{NewDeferred, StoreError};

const OUTPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-outputlocation");
const FAILURE_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-failurelocation");

/// All who are let in without a key are one owner.
const ANYONE: &str = "sagemaker";

/// Takes requests in, and gives answers out that are not in S3.
pub struct Deferred {
    pub runtime: Arc<Runtime>,
    pub backing: Arc<Backing>,
    /// Where answers go to S3.
    pub answerer: Option<Arc<Answerer>>,
    /// An answer on this machine is removed after so many seconds.
    pub keep_seconds: u64,
    /// Of a request whose answer stays on this machine.
    pub line_bytes: usize,
}

/// A request on its way into the store.
struct New<'a> {
    endpoint: &'a str,
    model: &'a str,
    owner: String,
    asked: Asked,
    body: Bytes,
    headers: &'a HeaderMap,
}

/// Where its client finds what became of it.
struct Told {
    output: HeaderValue,
    failure: HeaderValue,
}

/// Which of the two locations is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Output,
    Failure,
}

/// The one line of an output or error file.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    response: Option<Answered<'a>>,
    error: Option<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    message: String,
}

#[derive(Deserialize)]
struct Answered<'a> {
    status_code: u16,
    #[serde(borrow)]
    body: &'a RawValue,
}

pub fn routes(deferred: Arc<Deferred>) -> Router {
    Router::new()
        .route("/endpoints/{endpoint}/async-invocations", post(invoke))
        .route(
            "/endpoints/{endpoint}/async-invocations/{id}/{place}",
            get(fetch),
        )
        .with_state(deferred)
}

async fn invoke(
    State(deferred): State<Arc<Deferred>>,
    Path(endpoint): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let runtime = &deferred.runtime;
    let (parts, body, key) = runtime.admit(request).await?;
    let headers = &parts.headers;
    let asked = Asked::read(headers, !body.is_empty())?;
    let model = runtime.model(&endpoint, headers)?;
    if asked.input.is_none() {
        deferred.check_body(&body, model)?;
    }
    runtime.check_model(model, &endpoint).await?;
    let reply = Json(json!({"InferenceId": asked.name}));
    let new = New {
        endpoint: &endpoint,
        model,
        owner: key.map_or_else(|| ANYONE.to_owned(), |key| format!("{ANYONE}:{key}")),
        asked,
        body,
        headers,
    };
    let told = match &deferred.answerer {
        Some(answerer) => deferred.keep_for_s3(answerer, new).await?,
        None => deferred.keep_here(new).await?,
    };
    let mut response = (StatusCode::ACCEPTED, reply).into_response();
    finish(&mut response, headers);
    response.headers_mut().insert(OUTPUT_LOCATION, told.output);
    response
        .headers_mut()
        .insert(FAILURE_LOCATION, told.failure);
    Ok(response)
}

async fn fetch(
    State(deferred): State<Arc<Deferred>>,
    Path((endpoint, id, place)): Path<(String, String, Place)>,
) -> Result<Response, Refusal> {
    let absent = || Refusal::NoSuchKey("there is no answer at this place, or not yet".to_owned());
    if !id::is_one(&id) {
        return Err(absent());
    }
    let Backing::Local { store, .. } = &*deferred.backing else {
        return Err(absent());
    };
    let found = store.call(move |store| {
        let batch = store.deferred(&id)?.batch;
        let file = match place {
            Place::Output => batch.output_file_id,
            Place::Failure => batch.error_file_id,
        };
        file.map(|file| store.content(&file)).transpose()
    });
    let text = match found.await {
        Ok(text) => text.ok_or_else(absent)?,
        Err(StoreError::NoBatch(_)) => return Err(absent()),
        Err(error) => return Err(failed(&error)),
    };
    let line: Line = serde_json::from_slice(&text).map_err(|error| failed(&error))?;
    let body = match (place, line.response, line.error) {
        (Place::Output, Some(answered), _) => answered.body.get().to_owned(),
        (Place::Failure, Some(answered), _) => {
            let body = answered.body.get().as_bytes();
            let refusal = translate(answered.status_code, body, &endpoint);
            refusal.as_object().to_string()
        }
        (_, None, Some(error)) => Refusal::Validation(error.message).as_object().to_string(),
        (_, None, None) => return Err(absent()),
    };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from(body)).into_response())
}

impl Deferred {
    /// Refuses what no model can answer.
    fn check_body(&self, body: &[u8], model: &str) -> Result<(), Refusal> {
        understand(body, model).map(drop).map_err(no_model_yet)
    }

    /// Keeps a request until its answer is in S3.
    async fn keep_for_s3(&self, answerer: &Answerer, new: New<'_>) -> Result<Told, Refusal> {
        let New { asked, .. } = new;
        let places = answerer.places();
        if let Some(input) = asked.input.as_ref().filter(|input| !places.may_read(input)) {
            let words = format!("InputLocation: {input} is in no place of sagemaker.s3.inputs");
            return Err(Refusal::Validation(words));
        }
        let id = id::in_order().map_err(|error| failed(&error))?;
        let (extension, filename) = (asked.extension.as_deref(), asked.filename.as_deref());
        let created_at = unix_seconds();
        let invocation = Invocation {
            output: places.output(&id, extension, filename),
            failure: places.failure(&id),
            is_named: asked.filename.is_some(),
            id,
            name: asked.name,
            endpoint: new.endpoint.to_owned(),
            model: new.model.to_owned(),
            input: asked.input,
            created_at,
            expires_at: created_at + asked.ttl_seconds,
            timeout_seconds: asked.timeout_seconds,
        };
        let told = Told {
            output: header_of(&invocation.output.to_string())?,
            failure: header_of(&invocation.failure.to_string())?,
        };
        let kept = self.backing.add_invocation(new.owner, invocation, new.body);
        kept.await.map_err(not_kept)?;
        Ok(told)
    }

    /// Keeps a request as a line of this machine's store; its locations are URLs of this service.
    async fn keep_here(&self, new: New<'_>) -> Result<Told, Refusal> {
        let in_s3 = [
            ("InputLocation", new.asked.input.is_some()),
            ("S3OutputPathExtension", new.asked.extension.is_some()),
            ("Filename", new.asked.filename.is_some()),
        ];
        if let Some((name, _)) = in_s3.iter().find(|(_, is_asked)| *is_asked) {
            let words = format!("{name}: this service writes to no S3 (sagemaker.s3.output)");
            return Err(Refusal::Validation(words));
        }
        let Backing::Local { store, schedule } = &*self.backing else {
            let words = "InvokeEndpointAsync: a shared store needs a place in S3 for answers (sagemaker.s3.output)";
            return Err(Refusal::Validation(words.to_owned()));
        };
        let (to, body) = understand(&new.body, new.model).map_err(no_model_yet)?;
        let line = line(&new.asked.name, to, &body);
        if line.len() > self.line_bytes {
            let most = self.line_bytes;
            let words = format!("the request is larger than {most} bytes (files.line_bytes)");
            return Err(Refusal::Validation(words));
        }
        let kept = NewDeferred {
            name: new.asked.name,
            endpoint: to,
            bytes: 0,
            window_seconds: new.asked.ttl_seconds,
            keep_seconds: self.keep_seconds,
            invocation: None,
        };
        let added = store.call(move |store| store.keep_deferred(&new.owner, kept, &line));
        let id = added.await.map_err(not_kept)?;
        schedule.look();
        Ok(Told {
            output: location(new.headers, new.endpoint, &id, "output")?,
            failure: location(new.headers, new.endpoint, &id, "failure")?,
        })
    }
}

/// There is no model yet that could have said so.
fn no_model_yet(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Model { message, .. } => Refusal::Validation(message),
        other => other,
    }
}

fn not_kept(error: StoreError) -> Refusal {
    match error {
        StoreError::Quota { .. } => Refusal::Throttled(error.to_string()),
        error if error.is_full_disk() => {
            Refusal::Unavailable("there is no room on the disk of this service".to_owned())
        }
        error => failed(&error),
    }
}

/// As a file of requests has it; a body's line ends are white space.
fn line(name: &str, to: Endpoint, body: &[u8]) -> Vec<u8> {
    let head = json!({"custom_id": name, "method": "POST", "url": to}).to_string();
    let mut line = head.trim_end_matches('}').as_bytes().to_vec();
    line.extend_from_slice(b",\"body\":");
    line.extend(body.iter().map(|byte| match byte {
        b'\n' | b'\r' => b' ',
        other => *other,
    }));
    line.extend_from_slice(b"}\n");
    line
}

/// A URL of this service, under the name by which the client has reached it.
fn location(
    headers: &HeaderMap,
    endpoint: &str,
    id: &str,
    which: &str,
) -> Result<HeaderValue, Refusal> {
    let host = text(headers, &header::HOST).unwrap_or("localhost");
    let scheme = match text(headers, &HeaderName::from_static("x-forwarded-proto")) {
        Some("https") => "https",
        _ => "http",
    };
    let url = format!("{scheme}://{host}/endpoints/{endpoint}/async-invocations/{id}/{which}");
    header_of(&url)
}

fn header_of(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::try_from(text).map_err(|error| failed(&error))
}

fn failed(cause: &impl std::fmt::Display) -> Refusal {
    error!(error = %cause, "a deferred request failed at the store");
    Refusal::Internal("this service cannot reach its store".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input;

    #[test]
    fn a_request_is_a_line_whatever_its_body_looks_like() {
        let body = b"{\n \"inputs\": [\"a\\nb\"]\r\n}";
        let line = line("mine \"1\"}", Endpoint::Inputs, body);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read = input::Line::parse(1, line.trim_ascii()).expect("a line");
        assert_eq!(read.custom_id, "mine \"1\"}");
        assert_eq!(read.endpoint, Endpoint::Inputs);
        assert_eq!(&read.body[..], b"{  \"inputs\": [\"a\\nb\"]  }");
    }
}
