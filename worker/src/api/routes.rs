//! The routes: those of each family, and those that ask for the process and not for the model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tidegate_http::identify;
use tidegate_protocol::WorkerState;
use tidegate_protocol::api::Dialect;

use super::app::{App, word};
use super::error::{ApiError, Refuse};
use super::{openai, rerank, sagemaker, seq2seq, slash, tei, tgi};

pub fn routes(app: Arc<App>) -> Router {
    let answers = Router::new()
        .merge(openai::routes())
        .merge(seq2seq::routes())
        .merge(tei::routes())
        .merge(tgi::routes())
        .merge(slash::with([
            ("/rerank", post(rerank::rerank)),
            ("/livez", get(alive)),
            ("/healthz", get(alive)),
            ("/readyz", get(ready)),
            ("/health", get(ready)),
            ("/metrics", get(metrics)),
        ]))
        .fallback(async |request: Request| astray(&request, ApiError::no_such_path))
        .method_not_allowed_fallback(async |request: Request| {
            astray(&request, ApiError::wrong_method)
        })
        .with_state(app.clone());
    let all = answers.clone().merge(sagemaker::routes(app, answers));
    all.layer(from_fn(identify))
}

/// The answer to a request that no route takes.
fn astray(request: &Request, error: fn(&str, &str) -> ApiError) -> Response {
    let path = request.uri().path();
    family(path)(error(request.method().as_str(), path))
}

fn family(path: &str) -> Refuse {
    match Dialect::of(path) {
        Dialect::OpenAi => openai::refuse,
        Dialect::Tei => tei::refuse,
        Dialect::Tgi => tgi::refuse,
    }
}

/// The process answers.
async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// Requests are taken.
async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.life.state() {
        WorkerState::Ready => alive().await,
        state => {
            let body = Json(json!({ "status": word(state) }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.gauges().set();
    let plain = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (plain, app.metrics.render()).into_response()
}
