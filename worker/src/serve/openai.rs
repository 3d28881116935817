//! `POST /v1/embeddings` and `GET /v1/models`, as OpenAI's clients speak them.
//!
//! One extension: `"truncate": true` leaves out what is too much of a long text at its end;
//! without it such a text is refused. Fields that are not known are ignored.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::RecvError;

use super::app::App;
use super::error::ApiError;
use super::job::{Answer, Job, Outcome};
use super::{http, metrics};
use crate::model::{Overlong, TokenIds, TokenizeError};

/// Texts with fewer bytes than this are read into tokens where they arrive: that takes less
/// time than handing them to another thread would save.
const INLINE_BYTES: usize = 4096;

#[derive(Debug, Deserialize)]
struct Request {
    model: Option<String>,
    input: Input,
    #[serde(default)]
    encoding_format: Format,
    dimensions: Option<serde_json::Value>,
    truncate: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    Base64,
}

/// What `input` holds; token ids are known to be that, so that they are refused by name.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    Texts(Vec<String>),
    TokenIds,
}

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
    http::authorize(app, headers)?;
    let deadline = http::deadline(headers, begun)?;
    let (slot, body) = http::admit(app, headers, body).await?;
    let coming = app.intake.expect();
    let read = read(app, body).await?;
    let tokens = read.texts.iter().map(Vec::len).sum();
    let (job, outcome) = Job::new(read.texts, deadline, slot, Instant::now());
    coming.arrive(job.clone());
    let answer = wait(job, deadline, outcome).await?;
    metrics::computed(&answer);
    Ok(reply(&app.name, read.format, tokens, answer))
}

/// Reads a body into tokens, on a thread of its own when that takes long.
async fn read(app: &Arc<App>, body: Bytes) -> Result<Read, ApiError> {
    if body.len() <= INLINE_BYTES {
        return read_now(app, &body);
    }
    let app = app.clone();
    tokio::task::spawn_blocking(move || read_now(&app, &body))
        .await
        .map_err(|_| ApiError::internal("reading the request failed"))?
}

fn read_now(app: &App, body: &[u8]) -> Result<Read, ApiError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        ApiError::malformed(format!("The body is not a valid request: {error}"))
    })?;
    let format = request.encoding_format;
    let overlong = match request.truncate {
        Some(true) => Overlong::Truncate,
        _ => Overlong::Refuse,
    };
    let texts = request.check(&app.name, app.limits.max_texts.get())?;
    let tokenizer = app.tokenizer()?;
    let begun = Instant::now();
    let read = |(index, text): (usize, &String)| {
        tokenizer
            .encode(text, overlong)
            .map_err(|error| refusal(index, &error))
    };
    let texts: Vec<TokenIds> = texts
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()?;
    metrics::tokenized(texts.iter().map(Vec::len), begun.elapsed());
    Ok(Read { texts, format })
}

fn refusal(index: usize, error: &TokenizeError) -> ApiError {
    let place = format!("input[{index}]: {error}");
    match error {
        TokenizeError::TooLong { .. } => ApiError::context_length(
            "input",
            format!("{place}; shorten it, or send \"truncate\": true"),
        ),
        TokenizeError::Failed(_) => ApiError::param("input", place),
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

impl Request {
    /// The texts, if the request is one that can be served.
    fn check(self, served: &str, max_texts: usize) -> Result<Vec<String>, ApiError> {
        if let Some(asked) = self.model.filter(|asked| asked != served) {
            return Err(ApiError::model_not_found(&asked, served));
        }
        if self.dimensions.is_some_and(|value| !value.is_null()) {
            return Err(ApiError::param(
                "dimensions",
                "This model's vectors cannot be shortened; leave `dimensions` out",
            ));
        }
        let Input::Texts(texts) = self.input else {
            return Err(ApiError::param(
                "input",
                "Token ids are not taken; send `input` as text",
            ));
        };
        if texts.is_empty() {
            return Err(ApiError::param(
                "input",
                "`input` is an empty list; expected at least one text",
            ));
        }
        if texts.len() > max_texts {
            let message = format!(
                "`input` has {} texts, at most {max_texts} are taken",
                texts.len()
            );
            return Err(ApiError::param("input", message));
        }
        if let Some(index) = texts.iter().position(String::is_empty) {
            return Err(ApiError::param(
                "input",
                format!("input[{index}] is an empty string"),
            ));
        }
        Ok(texts)
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("`input` as a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Input, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Input, E> {
        Ok(Input::Texts(vec![text]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Input, A::Error> {
        let mut texts = Vec::new();
        let mut token_ids = false;
        while let Some(entry) = items.next_element::<Entry>()? {
            match entry {
                Entry::Text(text) => texts.push(text),
                Entry::TokenIds => token_ids = true,
            }
        }
        Ok(if token_ids {
            Input::TokenIds
        } else {
            Input::Texts(texts)
        })
    }
}

/// One entry of a list: a text, a token id, or a list of those.
enum Entry {
    Text(String),
    TokenIds,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("`input` as a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Entry, E> {
        Ok(Entry::Text(text))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Entry, E> {
        Ok(Entry::TokenIds)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Entry, A::Error> {
        while ids.next_element::<u64>()?.is_some() {}
        Ok(Entry::TokenIds)
    }
}

/// `GET /v1/models`
pub async fn models(State(app): State<Arc<App>>) -> Response {
    Json(json!({ "object": "list", "data": [description(&app)] })).into_response()
}

/// `GET /v1/models/{id}`
pub async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    if id == app.name {
        Json(description(&app)).into_response()
    } else {
        ApiError::model_not_found(&id, &app.name).into_response()
    }
}

fn description(app: &App) -> serde_json::Value {
    json!({ "id": app.name, "object": "model", "created": app.created, "owned_by": "tidegate" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<Vec<String>, String> {
        let request: Request = serde_json::from_str(json).map_err(|error| error.to_string())?;
        request
            .check("tiny", 3)
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn a_text_and_a_list_of_texts_are_taken_and_unknown_fields_ignored() {
        assert_eq!(
            checked(r#"{"input": "a", "user": "u", "dimensions": null}"#),
            Ok(vec!["a".into()])
        );
        assert_eq!(
            checked(r#"{"input": ["a", "b"], "model": "tiny", "encoding_format": "base64"}"#),
            Ok(vec!["a".into(), "b".into()])
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_the_field_it_is_in() {
        for (json, names) in [
            (r#"{"input": []}"#, "empty list"),
            (r#"{"input": ["a", ""]}"#, "input[1] is an empty string"),
            (r#"{"input": ["a", "b", "c", "d"]}"#, "4 texts"),
            (r#"{"input": [1, 2]}"#, "Token ids"),
            (r#"{"input": [[1, 2], [3]]}"#, "Token ids"),
            (r#"{"input": 7}"#, "a string or a list of strings"),
            (r#"{"input": "a", "model": "other"}"#, "model_not_found"),
            (r#"{"input": "a", "dimensions": 64}"#, "dimensions"),
            (r#"{"input": "a", "encoding_format": "hex"}"#, "hex"),
            (r#"{"model": "tiny"}"#, "missing field `input`"),
        ] {
            let refusal = checked(json).expect_err(json);
            assert!(refusal.contains(names), "{json}: {refusal}");
        }
    }
}
