//! Routes of the service, health and metrics included.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tidegate_keys::KeyRing;
use tidegate_protocol::BATCHES_PATH;

use super::backing::Backing;
use super::error::ApiError;
use super::overview::{self, Overview};
use super::{batches, files};
use crate::config::Config;
use crate::id;
use crate::metrics;

pub struct App {
    pub backing: Arc<Backing>,
    pub config: Config,
    pub metrics: PrometheusHandle,
    /// `None`: any key is taken.
    pub keys: Option<Arc<KeyRing>>,
    pub overview: Overview,
}

/// The name that a path ends with, if it can be one.
pub struct Id(pub String);

impl FromRequestParts<Arc<App>> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let found = Path::<String>::from_request_parts(parts, app).await;
        let found = found.ok().map(|Path(id)| id).filter(|id| id::is_one(id));
        found.map(Id).ok_or_else(|| {
            let message = format!("there is nothing at {}", parts.uri.path());
            let code = match parts.uri.path().starts_with("/v1/files") {
                true => "file_not_found",
                false => "batch_not_found",
            };
            ApiError::new(StatusCode::NOT_FOUND, code, message)
        })
    }
}

pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/files", post(files::create).get(files::list))
        .route("/v1/files/{id}", get(files::retrieve).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::retrieve))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .route("/livez", get(alive))
        .route("/readyz", get(alive))
        .route("/healthz", get(alive))
        .route("/metrics", get(show_metrics))
        .route(BATCHES_PATH, get(overview::report))
        .fallback(async |uri: Uri| {
            let message = format!("there is nothing at {}", uri.path());
            ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            let message = format!("{} does not take {method}", uri.path());
            ApiError::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                message,
            )
        })
        .with_state(app)
}

async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn show_metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    metrics::backlog(&app.backing.backlog().await?);
    let gate = app.backing.gate();
    metrics::at_the_proxy(gate.in_flight(), gate.is_held());
    let plain = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((plain, app.metrics.render()).into_response())
}
