//! What SageMaker asks of a container: `GET /ping`, `POST /invocations`, and
//! `GET /execution-parameters` for Batch Transform.
//!
//! The keys of a JSON body say which of the other routes answers it, as on the batch service, so
//! that a client meets the same here and there. Of JSON lines and of a CSV of texts each record is
//! answered by one line, in their order. Nothing is computed here: every record takes the way of a
//! request to its route.

mod records;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tidegate_protocol::WorkerState;
use tower::ServiceExt;

use super::app::{App, word};
use super::error::{ApiError, Fault};
use super::tei::refuse;

/// Which route answers a body with this key; the first that fits.
const ROUTES: [(&str, &str); 6] = [
    ("messages", "/v1/chat/completions"),
    ("prompt", "/v1/completions"),
    ("input", "/v1/embeddings"),
    ("documents", "/v1/rerank"),
    ("texts", "/rerank"),
    ("inputs", "/"),
];

/// SageMaker's own limit of a request to a container.
const MAX_PAYLOAD_MB: usize = 100;

#[derive(Clone)]
struct Container {
    app: Arc<App>,
    /// All other routes of this worker.
    answers: Router,
}

/// Beside `answers`, the routes that requests are answered by.
pub fn routes(app: Arc<App>, answers: Router) -> Router {
    Router::new()
        .route("/ping", get(ping))
        .route("/execution-parameters", get(parameters))
        .route("/invocations", post(invoke))
        .with_state(Container { app, answers })
}

/// 200 once requests are taken.
async fn ping(State(container): State<Container>) -> Response {
    match container.app.life.state() {
        WorkerState::Ready => StatusCode::OK.into_response(),
        state => (StatusCode::SERVICE_UNAVAILABLE, word(state)).into_response(),
    }
}

/// What Batch Transform may send at once.
async fn parameters(State(container): State<Container>) -> Response {
    let app = &container.app;
    let payload = app.limits.max_body_bytes.get() >> 20;
    Json(json!({
        "MaxConcurrentTransforms": app.admission.capacity().requests,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": payload.clamp(1, MAX_PAYLOAD_MB),
    }))
    .into_response()
}

async fn invoke(State(container): State<Container>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match container.answer(&parts, body).await {
        Ok(response) => response,
        Err(error) => refuse(error),
    }
}

impl Container {
    async fn answer(&self, parts: &Parts, body: Body) -> Result<Response, ApiError> {
        let limit = self.app.limits.max_body_bytes.get();
        let stated = parts.headers.get(header::CONTENT_LENGTH);
        let stated = stated.and_then(|length| length.to_str().ok()?.parse().ok());
        let stated = stated.unwrap_or(limit);
        if stated > limit {
            return Err(ApiError::too_large(limit));
        }
        let full = |_| ApiError::full(self.app.admission.capacity());
        let _memory = self.app.bodies.take(stated).map_err(full)?;
        let body = axum::body::to_bytes(body, stated);
        let body = tokio::time::timeout(*self.app.limits.body_timeout, body).await;
        let body =
            body.map_err(|_| ApiError::new(Fault::BodyTooSlow, "The body did not arrive in time"))?;
        let body = body.map_err(|_| ApiError::new(Fault::Unreadable, "The body broke off"))?;
        match kind(parts).as_str() {
            "" | "application/json" => Ok(self.ask(parts, &body).await?),
            "application/jsonlines" | "application/x-jsonlines" | "application/jsonl" => {
                records::json_lines(self, parts, &body).await
            }
            "text/csv" => records::csv(self, parts, &body).await,
            other => {
                let message = format!(
                    "The content type {other} is not read here: application/json, \
                     application/jsonlines and text/csv are"
                );
                Err(ApiError::new(Fault::Unreadable, message))
            }
        }
    }

    /// The answer of the route that a JSON body is for.
    async fn ask(&self, parts: &Parts, body: &[u8]) -> Result<Response, ApiError> {
        let (path, body) = understand(body, &self.app.name)?;
        Ok(self.pass(parts, path, body).await)
    }

    async fn pass(&self, parts: &Parts, path: &'static str, body: Vec<u8>) -> Response {
        let mut request = Request::new(Body::from(Bytes::from(body)));
        *request.method_mut() = axum::http::Method::POST;
        *request.uri_mut() = axum::http::Uri::from_static(path);
        request.headers_mut().clone_from(&parts.headers);
        let headers = request.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        self.answers
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {})
    }
}

/// The media type of a body, without its parameters.
fn kind(parts: &Parts) -> String {
    let text = parts.headers.get(header::CONTENT_TYPE);
    let text = text.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

/// Where a body goes, and the body with the name of the one model that there is.
fn understand(body: &[u8], model: &str) -> Result<(&'static str, Vec<u8>), ApiError> {
    let model = to_raw_value(model).map_err(|error| ApiError::unreadable(&error))?;
    let parsed: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_slice(body);
    let mut parsed = parsed.map_err(|error| ApiError::unreadable(&error))?;
    let route = ROUTES.iter().find(|(key, _)| parsed.contains_key(*key));
    let (_, path) = route.ok_or_else(|| {
        let known = ROUTES.map(|(key, _)| key).join(", ");
        ApiError::new(
            Fault::Unreadable,
            format!("The body has none of the keys {known}"),
        )
    })?;
    parsed.insert("model".to_owned(), &model);
    let body = serde_json::to_vec(&parsed).map_err(|error| ApiError::unreadable(&error))?;
    Ok((path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_by_its_keys_who_answers_it() {
        for (body, path) in [
            (r#"{"inputs": "a", "normalize": true}"#, "/"),
            (r#"{"input": "a", "model": "theirs"}"#, "/v1/embeddings"),
            (r#"{"messages": []}"#, "/v1/chat/completions"),
            (r#"{"prompt": "a"}"#, "/v1/completions"),
            (r#"{"query": "a", "documents": []}"#, "/v1/rerank"),
            (r#"{"query": "a", "texts": []}"#, "/rerank"),
        ] {
            let (found, sent) = understand(body.as_bytes(), "ours").expect("it is understood");
            assert_eq!(found, path, "{body}");
            let sent: serde_json::Value = serde_json::from_slice(&sent).expect("JSON");
            assert_eq!(sent["model"], "ours");
        }
        for wrong in ["", "[1]", "{\"x\": 1}"] {
            assert!(understand(wrong.as_bytes(), "m").is_err(), "{wrong}");
        }
    }
}
