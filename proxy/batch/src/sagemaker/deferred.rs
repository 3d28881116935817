//! `invoke_endpoint_async`: accepts a request whose answer the client fetches later.
//!
//! A request is a batch of one line in the store, so that it survives kills, waits while the fleet has
//! no worker and is retried as lines are. The locations are URLs of this service instead of S3 objects:
//! 404 until the answer is there. Their names are random, and anybody who knows one may read it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tracing::error;

use super::{INFERENCE_ID, Refusal, Runtime, finish, text, understand};
use crate::id;
use crate::input::Endpoint;
use crate::serve::Schedule;
use crate::store::{NewDeferred, Store, StoreError};

const INPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inputlocation");
const TTL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-requestttlseconds");
const EXTENSION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-s3outputpathextension");
const FILENAME: HeaderName = HeaderName::from_static("x-amzn-sagemaker-filename");
const OUTPUT_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-outputlocation");
const FAILURE_LOCATION: HeaderName = HeaderName::from_static("x-amzn-sagemaker-failurelocation");

/// SageMaker's own limits of `RequestTTLSeconds`.
const TTL_SECONDS: std::ops::RangeInclusive<u64> = 60..=21_600;

/// SageMaker's own limit of `InferenceId`.
const LONGEST_ID: usize = 64;

/// All who are let in without a key are one owner.
const ANYONE: &str = "sagemaker";

/// Takes requests in, and gives their answers out.
pub struct Deferred {
    pub runtime: Arc<Runtime>,
    pub store: Arc<Store>,
    pub schedule: Arc<Schedule>,
    /// An answer is removed after so many seconds.
    pub keep_seconds: u64,
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
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Answered<'a> {
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
    check(headers, &body)?;
    let model = runtime.model(&endpoint, headers)?;
    let (to, body) = understand(&body, model).map_err(|refusal| match refusal {
        // There is no model yet that could have said so.
        Refusal::Model { message, .. } => Refusal::Validation(message),
        other => other,
    })?;
    let name = inference_id(headers)?;
    let new = NewDeferred {
        name: name.clone(),
        endpoint: to,
        bytes: 0,
        window_seconds: ttl(headers)?,
        keep_seconds: deferred.keep_seconds,
    };
    runtime.check_model(model, &endpoint).await?;
    let owner = key.map_or_else(|| ANYONE.to_owned(), |key| format!("{ANYONE}:{key}"));
    let id = deferred.keep(owner, new, line(&name, to, &body)).await?;
    let place = |which: &str| location(headers, &endpoint, &id, which);
    let locations = (place("output")?, place("failure")?);
    let body = Json(json!({"InferenceId": name}));
    let mut response = (StatusCode::ACCEPTED, body).into_response();
    finish(&mut response, headers);
    response.headers_mut().insert(OUTPUT_LOCATION, locations.0);
    response.headers_mut().insert(FAILURE_LOCATION, locations.1);
    Ok(response)
}

async fn fetch(
    State(deferred): State<Arc<Deferred>>,
    Path((_, id, place)): Path<(String, String, Place)>,
) -> Result<Response, Refusal> {
    let absent = || Refusal::NoSuchKey("there is no answer at this place, or not yet".to_owned());
    if !id::is_one(&id) {
        return Err(absent());
    }
    let found = deferred.store.call(move |store| {
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
    let body = (line.response.map(|answered| answered.body)).or(line.error);
    let body = body.ok_or_else(absent)?.get().to_owned();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from(body)).into_response())
}

impl Deferred {
    /// Keeps a line, and says under which name once it is on the disk.
    async fn keep(
        &self,
        owner: String,
        new: NewDeferred,
        line: Vec<u8>,
    ) -> Result<String, Refusal> {
        let kept = self.store.call(move |store| {
            let name = id::random().map_err(StoreError::Random)?;
            let path = store.upload_path(&name);
            let failed = |cause| StoreError::Io {
                path: path.clone(),
                cause,
            };
            std::fs::write(&path, &line).map_err(failed)?;
            let bytes = line.len() as u64;
            store.add_deferred(&owner, NewDeferred { bytes, ..new }, &path)
        });
        let id = kept.await.map_err(|error| match error {
            StoreError::Quota { .. } => Refusal::Throttled(error.to_string()),
            error if error.is_full_disk() => {
                Refusal::Unavailable("there is no room on the disk of this service".to_owned())
            }
            error => failed(&error),
        })?;
        self.schedule.look();
        Ok(id)
    }
}

fn check(headers: &HeaderMap, body: &[u8]) -> Result<(), Refusal> {
    for (header, name) in [
        (INPUT_LOCATION, "InputLocation"),
        (EXTENSION, "S3OutputPathExtension"),
        (FILENAME, "Filename"),
    ] {
        if headers.contains_key(header) {
            let words = format!("{name}: this service reads and writes no S3; send a Body");
            return Err(Refusal::Validation(words));
        }
    }
    match body.is_empty() {
        true => Err(Refusal::Validation("the request has no Body".to_owned())),
        false => Ok(()),
    }
}

fn inference_id(headers: &HeaderMap) -> Result<String, Refusal> {
    match text(headers, &INFERENCE_ID) {
        Some(id) if (1..=LONGEST_ID).contains(&id.len()) => Ok(id.to_owned()),
        Some(_) => Err(Refusal::Validation(format!(
            "InferenceId has at most {LONGEST_ID} characters"
        ))),
        None => id::random().map_err(|error| failed(&error)),
    }
}

fn ttl(headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(asked) = text(headers, &TTL) else {
        return Ok(*TTL_SECONDS.end());
    };
    let seconds = asked.parse().ok();
    seconds
        .filter(|seconds| TTL_SECONDS.contains(seconds))
        .ok_or_else(|| {
            let (least, most) = (TTL_SECONDS.start(), TTL_SECONDS.end());
            Refusal::Validation(format!(
                "RequestTTLSeconds: found {asked}, expected {least} to {most}"
            ))
        })
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
    HeaderValue::try_from(url).map_err(|error| failed(&error))
}

fn failed(cause: &impl std::fmt::Display) -> Refusal {
    error!("a deferred request failed at the store: {cause}");
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

    #[test]
    fn a_time_to_live_is_one_of_sagemakers() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TTL, HeaderValue::from_static(text));
            ttl(&headers).ok()
        };
        assert_eq!(ttl(&HeaderMap::new()).ok(), Some(21_600));
        assert_eq!(of("60"), Some(60));
        assert_eq!((of("59"), of("21601"), of("x")), (None, None, None));
    }
}
