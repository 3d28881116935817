//! Requests that people send from the status page to the models: passed on to the proxies' client port,
//! because a page may only send requests to its own server.
//!
//! A request goes to the one address that the policy names, by the routes that are listed here, with
//! its caller's own key. It carries no token of the scaler's.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use futures_util::stream;
use reqwest::Client;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http;

/// What may be asked for, under `/v1/`.
const ROUTES: [&str; 4] = ["models", "embeddings", "rerank", "chat/completions"];

/// A few texts or a chat.
const LARGEST_REQUEST_BYTES: usize = 256 << 10;

/// Requests at once.
const AT_ONCE: usize = 16;

/// For a whole answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);

struct Relay {
    clients: Option<String>,
    client: Client,
    places: Arc<Semaphore>,
}

/// The routes below `/api/try/`, for the proxies that clients reach at this base URL.
pub fn routes(clients: Option<String>) -> Router {
    let relay = Relay {
        clients,
        client: http::client(),
        places: Arc::new(Semaphore::new(AT_ONCE)),
    };
    Router::new()
        .route("/api/try", get(place))
        .route("/api/try/v1/{*route}", any(hand_on))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST_BYTES))
        .with_state(Arc::new(relay))
}

/// Where clients ask.
async fn place(State(relay): State<Arc<Relay>>) -> impl IntoResponse {
    Json(json!({ "clients": relay.clients }))
}

async fn hand_on(
    State(relay): State<Arc<Relay>>,
    Path(route): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, (StatusCode, String)> {
    let Some(clients) = &relay.clients else {
        let why = "scaler.clients is not set: where clients reach the proxies is not known";
        return Err((StatusCode::NOT_FOUND, why.to_owned()));
    };
    let reads = method == Method::GET && route == "models";
    let asks = method == Method::POST && route != "models";
    if !ROUTES.contains(&route.as_str()) || !(reads || asks) {
        let why = format!(
            "found {method} {route}, expected one of {}",
            ROUTES.join(", ")
        );
        return Err((StatusCode::NOT_FOUND, why));
    }
    // A page of another origin can send no JSON without asking first, and is not answered then.
    if asks && !is_json(&headers) {
        let why = "expected content-type to be application/json";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    let Ok(place) = relay.places.clone().try_acquire_owned() else {
        let why = format!("{AT_ONCE} requests of this page are under way");
        return Err((StatusCode::TOO_MANY_REQUESTS, why));
    };
    let mut request = relay
        .client
        .request(method, format!("{clients}/v1/{route}"))
        .header(header::CONTENT_TYPE, "application/json")
        .timeout(LONGEST_ANSWER)
        .body(body);
    if let Some(key) = headers.get(header::AUTHORIZATION) {
        request = request.header(header::AUTHORIZATION, key);
    }
    let answer = request.send().await.map_err(|error| {
        let why = format!("{clients} cannot be reached: {error}");
        (StatusCode::BAD_GATEWAY, why)
    })?;
    Ok(answered(answer, place))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.split(';').next() == Some("application/json"))
}

/// The answer as it comes; its place is free again at its end.
fn answered(answer: reqwest::Response, place: OwnedSemaphorePermit) -> Response {
    let status = answer.status();
    let kind = answer.headers().get(header::CONTENT_TYPE).cloned();
    let parts = stream::unfold((answer, place), |(mut answer, place)| async {
        let part = answer.chunk().await.transpose()?;
        Some((part, (answer, place)))
    });
    let mut response = Body::from_stream(parts).into_response();
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
