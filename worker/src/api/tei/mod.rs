//! The routes of text-embeddings-inference, so that its clients work unchanged: `/embed`,
//! `/embed_all`, `/similarity`, `/predict`, `/rerank` (see [`super::rerank`]), `/tokenize`, `/info`, and
//! `/`, which is whichever of embed, predict, rerank and [generate](super::tgi) the model is for.
//!
//! What differs: texts that are too long are cut unless `"truncate": false` is sent, which `/info`
//! says as `auto_truncate`; token ids are never cut; no sparse embeddings.

mod embed;
mod error;
mod info;
mod predict;
pub mod rerank;
mod similarity;
mod tokenize;

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

pub use self::error::refuse;
use super::app::App;
use super::inference::Call;
use super::{slash, tgi};
use crate::models::{Overlong, Task};

pub fn routes() -> Router<Arc<App>> {
    slash::with([
        ("/embed", post(embed)),
        ("/embed_all", post(embed_all)),
        ("/similarity", post(similarity)),
        ("/predict", post(predict)),
        ("/tokenize", post(tokenize)),
        ("/info", get(info::info)),
    ])
    .route("/", post(root))
}

/// What to do with long texts, in every body.
#[derive(Default, Deserialize)]
struct Truncation {
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
}

/// The side on which a text loses what is too much.
#[derive(Clone, Copy, Deserialize)]
enum Direction {
    #[serde(alias = "left")]
    Left,
    #[serde(alias = "right")]
    Right,
}

impl Truncation {
    fn overlong(&self) -> Overlong {
        match (self.truncate, self.truncation_direction) {
            (Some(false), _) => Overlong::Refuse,
            (_, Some(Direction::Left)) => Overlong::CutStart,
            _ => Overlong::CutEnd,
        }
    }
}

async fn root(call: Call) -> Response {
    if call.app.writing.get().is_some() || call.app.generating.get().is_some() {
        return tgi::root(call).await;
    }
    let task = call.app.served().map(|served| served.card.task.clone());
    match task {
        Ok(Task::Classification { .. }) => predict(call).await,
        Ok(Task::Reranking { .. }) => rerank(call).await,
        // A model that is not loaded yet is said there.
        Ok(Task::Embedding { .. }) | Err(_) => embed(call).await,
    }
}

async fn embed(call: Call) -> Response {
    call.compute(&embed::EMBED).await
}

async fn embed_all(call: Call) -> Response {
    call.compute(&embed::EMBED_ALL).await
}

async fn similarity(call: Call) -> Response {
    call.compute(&similarity::SIMILARITY).await
}

async fn predict(call: Call) -> Response {
    call.compute(&predict::PREDICT).await
}

async fn rerank(call: Call) -> Response {
    call.compute(&rerank::RERANK).await
}

async fn tokenize(call: Call) -> Response {
    call.read_only("tokenize", refuse, tokenize::answer).await
}
