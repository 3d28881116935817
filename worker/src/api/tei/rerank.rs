//! `POST /rerank`: texts in the order in which they answer a query.

use serde::{Deserialize, Serialize};

use super::Truncation;
use crate::api::app::App;
use crate::api::error::{ApiError, Fault};
use crate::api::inference::{Arrived, Asked, Done, Route};
use crate::api::numbers;
use crate::api::reply::Reply;
use crate::api::texts::{self, Reading};
use crate::models::Want;

pub const RERANK: Route<Form> = Route {
    method: "rerank",
    refuse: super::refuse,
    read,
    reply,
};

#[derive(Deserialize)]
pub struct Request {
    query: String,
    texts: Vec<String>,
    #[serde(flatten)]
    truncation: Truncation,
    raw_scores: Option<bool>,
    return_text: Option<bool>,
}

/// How a ranking is sent.
pub struct Form {
    /// What becomes of a score.
    scale: fn(f32) -> f32,
    /// The texts, if they are to be sent back.
    texts: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Rank {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    score: f32,
}

fn read(app: &App, body: &Arrived) -> Result<Asked<Form>, ApiError> {
    ask(app, body, body.json()?)
}

/// From a request to what is computed.
pub fn ask(app: &App, body: &Arrived, request: Request) -> Result<Asked<Form>, ApiError> {
    let served = app.served()?;
    served.reranking()?;
    texts::count("texts", request.texts.len(), app.limits.max_texts.get())?;
    if request.query.is_empty() {
        let message = "`query` is an empty string";
        return Err(ApiError::param(Fault::Empty, "query", message));
    }
    let mut reading = Reading::begin(served, body, "texts", request.truncation.overlong());
    let query = reading.query(&request.query)?;
    for text in &request.texts {
        reading.document(&query, text)?;
    }
    Ok(Asked {
        texts: reading.end(),
        want: Want::Result,
        form: Form {
            scale: match request.raw_scores {
                Some(true) => std::convert::identity,
                _ => numbers::sigmoid,
            },
            texts: (request.return_text == Some(true)).then_some(request.texts),
        },
    })
}

pub fn reply(_: &App, done: Done<Form>) -> Result<Reply, ApiError> {
    let Form { scale, mut texts } = done.form;
    let scores = done.results.iter().flatten().copied();
    let ranks: Vec<Rank> = (numbers::ranking(scores.map(scale)).into_iter())
        .map(|(index, score)| Rank {
            index,
            text: texts
                .as_mut()
                .map(|texts| std::mem::take(&mut texts[index])),
            score,
        })
        .collect();
    Ok(Reply::whole(&ranks))
}
