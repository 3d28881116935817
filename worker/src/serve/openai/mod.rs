//! `POST /v1/embeddings` and `GET /v1/models`, as OpenAI's clients speak them.
//!
//! One extension: `"truncate": true` leaves out what is too much of a long text at its end;
//! without it such a text is refused. Fields that are not known are ignored.

mod request;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::RecvError;

use self::request::Format;
use super::admission::Slot;
use super::app::App;
use super::error::ApiError;
use super::job::{Answer, Job, Outcome};
use super::{http, metrics};
use crate::model::{TokenIds, TokenizeError};

/// Texts with fewer bytes than this are read into tokens where they arrive: that takes less
/// time than handing them to another thread would save.
const INLINE_BYTES: usize = 4096;

#[derive(Serialize)]
struct Reply<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// A request read into tokens.
struct Read {
    texts: Vec<TokenIds>,
    format: Format,
}

/// `POST /v1/embeddings`
pub async fn embeddings(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    const METHOD: &str = "embeddings";
    let begun = Instant::now();
    metrics::request_begun(METHOD);
    match embed(&app, &headers, body, begun).await {
        Ok(response) => {
            metrics::request_answered(METHOD, begun.elapsed());
            response
        }
        Err(error) => {
            metrics::request_failed(error.label());
            error.into_response()
        }
    }
}

async fn embed(
    app: &Arc<App>,
    headers: &HeaderMap,
    body: Body,
    begun: Instant,
) -> Result<Response, ApiError> {
    let admitted = http::admit(app, headers, body, begun).await?;
    let (slot, body, deadline) = (admitted.slot, admitted.body, admitted.deadline);
    let coming = app.intake.expect();
    let (read, slot) = read(app, body, slot).await?;
    let tokens = read.texts.iter().map(Vec::len).sum();
    let (job, outcome) = Job::new(read.texts, deadline, slot, Instant::now());
    coming.arrive(job.clone());
    let answer = wait(job, deadline, outcome).await?;
    metrics::computed(&answer);
    Ok(reply(&app.name, read.format, tokens, answer))
}

/// Reads a body into tokens, on a thread of its own when that takes long. The slot goes along,
/// for the work goes on even if the client leaves.
async fn read(app: &Arc<App>, body: Bytes, slot: Slot) -> Result<(Read, Slot), ApiError> {
    if body.len() <= INLINE_BYTES {
        return Ok((read_now(app, &body)?, slot));
    }
    let app = app.clone();
    tokio::task::spawn_blocking(move || Ok((read_now(&app, &body)?, slot)))
        .await
        .map_err(|_| ApiError::internal("reading the request failed"))?
}

fn read_now(app: &App, body: &[u8]) -> Result<Read, ApiError> {
    let wanted = request::parse(body, &app.name, app.limits.max_texts.get())?;
    let tokenizer = app.tokenizer()?;
    let begun = Instant::now();
    let mut texts = Vec::with_capacity(wanted.texts.len());
    for (index, text) in wanted.texts.iter().enumerate() {
        let ids = tokenizer.encode(text, wanted.overlong);
        texts.push(ids.map_err(|error| refusal(index, &error))?);
    }
    metrics::tokenized(texts.iter().map(Vec::len), begun.elapsed());
    Ok(Read {
        texts,
        format: wanted.format,
    })
}

fn refusal(index: usize, error: &TokenizeError) -> ApiError {
    let place = format!("input[{index}]: {error}");
    match error {
        TokenizeError::TooLong { .. } => ApiError::context_length(
            "input",
            format!("{place}; shorten it, or send \"truncate\": true"),
        ),
        TokenizeError::Empty | TokenizeError::Failed(_) => ApiError::param("input", place),
    }
}

/// Waits for the outcome, and past the deadline only for what was begun before it.
async fn wait(
    job: Arc<Job>,
    deadline: Option<Instant>,
    mut outcome: Receiver<Outcome>,
) -> Result<Answer, ApiError> {
    if let Some(deadline) = deadline {
        tokio::select! {
            biased;
            arrived = &mut outcome => return settle(arrived),
            () = tokio::time::sleep_until(deadline.into()) => {
                if !job.has_begun() {
                    return Err(ApiError::expired());
                }
            }
        }
    }
    settle(outcome.await)
}

/// A job that was dropped without an outcome had run out of time in the queue.
fn settle(arrived: Result<Outcome, RecvError>) -> Result<Answer, ApiError> {
    match arrived {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(ApiError::internal(error.to_string())),
        Err(_) => Err(ApiError::expired()),
    }
}

fn reply(model: &str, format: Format, tokens: usize, answer: Answer) -> Response {
    let encode = |vector: Vec<f32>| match format {
        Format::Float => Vector::Numbers(vector),
        Format::Base64 => {
            let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
            Vector::Base64(BASE64.encode(bytes))
        }
    };
    let item = |(index, vector)| Item {
        object: "embedding",
        index,
        embedding: encode(vector),
    };
    let reply = Reply {
        object: "list",
        data: answer.vectors.into_iter().enumerate().map(item).collect(),
        model,
        usage: Usage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    };
    Json(reply).into_response()
}

/// `GET /v1/models`
pub async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Err(error) = http::authorize(&app, &headers) {
        return error.into_response();
    }
    Json(json!({ "object": "list", "data": [description(&app)] })).into_response()
}

/// `GET /v1/models/{id}`
pub async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = http::authorize(&app, &headers) {
        return error.into_response();
    }
    if id == app.name {
        Json(description(&app)).into_response()
    } else {
        ApiError::model_not_found(&id, &app.name).into_response()
    }
}

fn description(app: &App) -> serde_json::Value {
    json!({ "id": app.name, "object": "model", "created": app.created, "owned_by": "tidegate" })
}
