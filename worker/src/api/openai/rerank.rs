//! `POST /v1/rerank`, in the shape that Cohere and Jina have in common.
//!
//! As with Cohere, a document that is too long is cut at its end; `"truncate": false` refuses it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::{Usage, check_model};
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::{Asked, Done, Route};
use crate::api::numbers;
use crate::api::texts::{self, Reading};
use crate::models::{Overlong, Want};

pub const RERANK: Route<Form> = Route {
    method: "rerank",
    refuse: super::refuse,
    read,
    reply,
};

#[derive(Deserialize)]
struct Request {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    top_n: Option<usize>,
    return_documents: Option<bool>,
    truncate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected documents as strings or {\"text\": string}"
)]
enum Document {
    Text(String),
    Object { text: String },
}

/// How a ranking is sent.
pub struct Form {
    /// Results that are wanted.
    top: usize,
    /// The documents, if they are to be sent back.
    documents: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Reply<'a> {
    model: &'a str,
    results: Vec<Ranked>,
    usage: Usage,
}

#[derive(Serialize)]
struct Ranked {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Sent>,
}

#[derive(Serialize)]
struct Sent {
    text: String,
}

fn read(app: &App, body: &[u8]) -> Result<Asked<Form>, ApiError> {
    let request: Request =
        serde_json::from_slice(body).map_err(|error| ApiError::unreadable(&error))?;
    check_model(app, request.model.as_deref())?;
    let served = app.served()?;
    served.reranking()?;
    let count = request.documents.len();
    texts::count("documents", count, app.limits.max_texts.get())?;
    if request.query.is_empty() {
        let message = "`query` is an empty string";
        return Err(ApiError::param(Fault::Empty, "query", message));
    }
    if request.top_n == Some(0) {
        let message = "`top_n` is 0; expected 1 or more";
        return Err(ApiError::param(Fault::Invalid, "top_n", message));
    }
    let overlong = match request.truncate {
        Some(false) => Overlong::Refuse,
        _ => Overlong::CutEnd,
    };
    let documents = request
        .documents
        .into_iter()
        .map(|document| match document {
            Document::Text(text) | Document::Object { text } => text,
        });
    let documents: Vec<String> = documents.collect();
    let mut reading = Reading::begin(served, "documents", overlong);
    let query = reading.query(&request.query)?;
    for document in &documents {
        reading.document(&query, document)?;
    }
    Ok(Asked {
        texts: reading.end(),
        want: Want::Result,
        form: Form {
            top: request.top_n.unwrap_or(count),
            documents: (request.return_documents == Some(true)).then_some(documents),
        },
    })
}

fn reply(app: &App, done: Done<Form>) -> Result<Response, ApiError> {
    let Form { top, mut documents } = done.form;
    let scores = done.results.iter().flatten().copied();
    let ranking = numbers::ranking(scores.map(numbers::sigmoid));
    let ranked = |(index, relevance_score)| Ranked {
        index,
        relevance_score,
        document: documents.as_mut().map(|documents| Sent {
            text: std::mem::take(&mut documents[index]),
        }),
    };
    let reply = Reply {
        model: &app.name,
        results: ranking.into_iter().take(top).map(ranked).collect(),
        usage: Usage::of(&done.cost),
    };
    Ok(Json(reply).into_response())
}
