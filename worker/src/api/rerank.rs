//! `POST /rerank`, which two kinds of clients use: those of text-embeddings-inference send `texts`,
//! those of Cohere, Jina and vLLM `documents`. Each gets its own answer.

use axum::response::Response;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::app::App;
use super::error::ApiError;
use super::inference::{Arrived, Asked, Call, Done, Route};
use super::reply::Reply;
use super::{openai, tei};

const RERANK: Route<Form> = Route {
    method: "rerank",
    refuse: tei::refuse,
    read,
    reply,
};

enum Form {
    Texts(tei::rerank::Form),
    Documents(openai::rerank::Form),
}

/// Which of the two it is.
#[derive(Deserialize)]
struct Fields {
    texts: Option<IgnoredAny>,
    documents: Option<IgnoredAny>,
}

pub async fn rerank(call: Call) -> Response {
    call.compute(&RERANK).await
}

fn read(app: &App, body: &Arrived) -> Result<Asked<Form>, ApiError> {
    let fields: Fields = body.json()?;
    match (fields.texts, fields.documents) {
        (None, Some(_)) => {
            let asked = openai::rerank::ask(app, body, body.json()?)?;
            Ok(asked.map(Form::Documents))
        }
        _ => {
            let asked = tei::rerank::ask(app, body, body.json()?)?;
            Ok(asked.map(Form::Texts))
        }
    }
}

fn reply(app: &App, done: Done<Form>) -> Result<Reply, ApiError> {
    let Done {
        form,
        results,
        cost,
    } = done;
    match form {
        Form::Texts(form) => {
            let done = Done {
                form,
                results,
                cost,
            };
            tei::rerank::reply(app, done)
        }
        Form::Documents(form) => {
            let done = Done {
                form,
                results,
                cost,
            };
            openai::rerank::reply(app, done)
        }
    }
}
