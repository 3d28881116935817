//! The routes under `/v1/`: `chat/completions`, `completions`, `embeddings` and `models` as OpenAI's
//! clients speak them, `rerank` as
//! those of Cohere and Jina do. Fields that are not known are ignored.

mod chat;
mod completions;
mod embeddings;
mod error;
pub mod generation;
pub mod rerank;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

pub use self::error::{body as error_body, refuse};
pub use self::generation::id;
use super::admit::authorize;
use super::app::App;
use super::error::ApiError;
use super::inference::{Call, Cost};
use super::{seq2seq, slash};

pub fn routes() -> Router<Arc<App>> {
    slash::with([
        ("/v1/chat/completions", post(chat)),
        ("/v1/completions", post(complete)),
        ("/v1/embeddings", post(embed)),
        ("/v1/rerank", post(rerank)),
        ("/v2/rerank", post(rerank)),
        ("/v1/models", get(models)),
    ])
    .route("/v1/models/{*id}", get(model))
}

/// Tokens, as they are billed elsewhere.
#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    fn of(cost: &Cost) -> Usage {
        Usage {
            prompt_tokens: cost.tokens,
            total_tokens: cost.tokens,
        }
    }
}

/// Whether the model that a request names, if it does, is the one that is served.
pub(super) fn check_model(app: &App, asked: Option<&str>) -> Result<(), ApiError> {
    match asked {
        Some(asked) if asked != app.name => Err(ApiError::model_not_found(asked, &app.name)),
        _ => Ok(()),
    }
}

async fn chat(call: Call) -> Response {
    let reply = async |chat: chat::Chat, app, slot, deadline| chat.reply(app, slot, deadline).await;
    call.generate("chat_completions", refuse, chat::read, reply)
        .await
}

async fn complete(call: Call) -> Response {
    if call.app.writing.get().is_some() {
        let reply = async |completion: seq2seq::Completion, app, slot, deadline| {
            completion.reply(app, slot, deadline).await
        };
        let read = seq2seq::read_completion;
        return call.generate("completions", refuse, read, reply).await;
    }
    let reply = async |completion: completions::Completion, app, slot, deadline| {
        completion.reply(app, slot, deadline).await
    };
    call.generate("completions", refuse, completions::read, reply)
        .await
}

/// Unix seconds.
pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

async fn embed(call: Call) -> Response {
    call.compute(&embeddings::EMBEDDINGS).await
}

async fn rerank(call: Call) -> Response {
    call.compute(&rerank::RERANK).await
}

async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if let Err(error) = authorize(&app, &headers) {
        return refuse(error);
    }
    Json(json!({ "object": "list", "data": [description(&app)] })).into_response()
}

async fn model(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let known = authorize(&app, &headers).and_then(|()| check_model(&app, Some(&id)));
    match known {
        Ok(()) => Json(description(&app)).into_response(),
        Err(error) => refuse(error),
    }
}

fn description(app: &App) -> serde_json::Value {
    json!({ "id": app.name, "object": "model", "created": app.created, "owned_by": "tidegate" })
}
