//! `POST /v1/rerank` and `/v2/rerank`, and `/rerank` with `documents`: what Cohere (v1 and v2), Jina
//! and vLLM have in common, so that their clients and LiteLLM's read the answer.
//!
//! As with Cohere, a document that is too long is cut at its end; `"truncate": false` refuses it.
//! Fields that would change what is computed, and are not served, are refused.

use serde::{Deserialize, Serialize};

use super::{Usage, check_model};
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::{Arrived, Asked, Done, Route};
use crate::api::numbers;
use crate::api::reply::Reply;
use crate::api::texts::{self, Reading};
use crate::models::{Overlong, Want};

pub const RERANK: Route<Form> = Route {
    method: "rerank",
    refuse: super::refuse,
    read,
    reply,
};

/// The version whose answers `meta` says these are like.
const API_VERSION: &str = "1";

#[derive(Deserialize)]
pub struct Request {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    top_n: Option<usize>,
    return_documents: Option<bool>,
    truncate: Option<bool>,
    /// Cohere's: which fields of a document are read.
    rank_fields: Option<Vec<String>>,
    /// Cohere's: into how many pieces a long document is cut.
    max_chunks_per_doc: Option<i64>,
    /// Cohere's: after how many tokens a document is cut.
    max_tokens_per_doc: Option<i64>,
    /// vLLM's: after how many tokens a pair is cut; -1 is what the model reads.
    truncate_prompt_tokens: Option<i64>,
}

impl Request {
    /// Refuses what asks for another computation.
    fn check_fields(&self, longest: usize) -> Result<(), ApiError> {
        let longest = i64::try_from(longest).unwrap_or(i64::MAX);
        let cuts = |tokens: i64| (0..longest).contains(&tokens);
        let text_alone = |fields: &Vec<String>| fields.as_slice() == ["text"];
        let refused = [
            (
                "rank_fields",
                self.rank_fields
                    .as_ref()
                    .is_some_and(|fields| !text_alone(fields)),
                "documents are read by their `text`",
            ),
            (
                "max_chunks_per_doc",
                self.max_chunks_per_doc.is_some_and(|chunks| chunks > 1),
                "a long document is cut at its end",
            ),
            (
                "max_tokens_per_doc",
                self.max_tokens_per_doc.is_some_and(cuts),
                "a document is cut after as many tokens as the model reads",
            ),
            (
                "truncate_prompt_tokens",
                self.truncate_prompt_tokens.is_some_and(cuts),
                "a pair is cut after as many tokens as the model reads",
            ),
        ];
        match refused.into_iter().find(|(_, is_asked, _)| *is_asked) {
            Some((field, _, why)) => {
                let message = format!("`{field}` is not supported: {why}");
                Err(ApiError::param(Fault::Invalid, field, message))
            }
            None => Ok(()),
        }
    }
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
struct Answer<'a> {
    id: String,
    model: &'a str,
    results: Vec<Ranked>,
    usage: Usage,
    meta: Meta,
}

/// What Cohere's clients look for.
#[derive(Serialize)]
struct Meta {
    api_version: ApiVersion,
    billed_units: BilledUnits,
}

#[derive(Serialize)]
struct ApiVersion {
    version: &'static str,
}

#[derive(Serialize)]
struct BilledUnits {
    search_units: usize,
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

fn read(app: &App, body: &Arrived) -> Result<Asked<Form>, ApiError> {
    ask(app, body, body.json()?)
}

/// From a request to what is computed.
pub fn ask(app: &App, body: &Arrived, request: Request) -> Result<Asked<Form>, ApiError> {
    check_model(app, request.model.as_deref())?;
    let served = app.served()?;
    served.reranking()?;
    request.check_fields(served.tokenizer.limit())?;
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
    let mut reading = Reading::begin(served, body, "documents", overlong);
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

pub fn reply(app: &App, done: Done<Form>) -> Result<Reply, ApiError> {
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
    let answer = Answer {
        id: format!("rerank-{}", app.next_id()),
        model: &app.name,
        results: ranking.into_iter().take(top).map(ranked).collect(),
        usage: Usage::of(&done.cost),
        meta: Meta {
            api_version: ApiVersion {
                version: API_VERSION,
            },
            billed_units: BilledUnits { search_units: 1 },
        },
    };
    Ok(Reply::whole(&answer))
}
