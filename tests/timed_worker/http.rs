//! What the timed worker answers. A request's JSON body may say:
//! `service_ms`: how long it takes; `pieces` and `gap_ms`: that its answer comes in pieces;
//! `poison`: that the worker dies of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tidegate_agent::{Admission, Capacity, Lifecycle, Slot};
use tidegate_protocol::{
    PROXY_HEADER, REFUSED_FULL, REFUSED_HEADER, REFUSED_NOT_READY, WorkerState,
};

pub struct Worker {
    pub admission: Arc<Admission>,
    pub life: Arc<Lifecycle>,
    service_ms: u64,
    authorization: String,
    served: Mutex<u64>,
    /// Requests that came while all slots were taken.
    refused: AtomicU64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    service_ms: Option<u64>,
    pieces: u64,
    gap_ms: u64,
    poison: bool,
}

impl Worker {
    pub fn new(slots: u32, service_ms: u64, token: &str) -> Self {
        Worker {
            admission: Admission::new(Capacity {
                requests: slots,
                tokens: None,
            }),
            life: Arc::new(Lifecycle::new()),
            service_ms,
            authorization: format!("Bearer {token}"),
            served: Mutex::default(),
            refused: AtomicU64::default(),
        }
    }
}

pub fn routes(worker: Arc<Worker>) -> Router {
    Router::new()
        .route("/v1/embeddings", post(serve))
        .route("/readyz", get(async || "ok\n"))
        .route(
            "/busy",
            get(async |State(worker): State<Arc<Worker>>| Json(worker.admission.by_proxy())),
        )
        .route(
            "/refused",
            get(async |State(worker): State<Arc<Worker>>| {
                worker.refused.load(Ordering::Relaxed).to_string()
            }),
        )
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(worker)
}

async fn serve(State(worker): State<Arc<Worker>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    if header("authorization") != Some(&worker.authorization) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if worker.life.state() != WorkerState::Ready {
        return refuse(REFUSED_NOT_READY);
    }
    let proxy = header(PROXY_HEADER).unwrap_or_default();
    let Ok(slot) = worker.admission.take(proxy) else {
        worker.refused.fetch_add(1, Ordering::Relaxed);
        return refuse(REFUSED_FULL);
    };
    let asked: Asked = serde_json::from_slice(&body).unwrap_or_default();
    if asked.poison {
        std::process::exit(1);
    }
    if asked.pieces > 0 {
        return in_pieces(slot, asked);
    }
    // The work goes on when the client leaves, as a batch does that has begun.
    let service = Duration::from_millis(asked.service_ms.unwrap_or(worker.service_ms));
    let began_us = now_us();
    let work = tokio::spawn(async move {
        tokio::time::sleep(service).await;
        drop(slot);
    });
    let _ = work.await;
    let order = worker.served.lock().map(|mut served| {
        *served += 1;
        *served
    });
    let seen: BTreeMap<_, _> = (headers.iter())
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    Json(json!({
        "order": order.unwrap_or_default(),
        "began_us": began_us,
        "ended_us": now_us(),
        "bytes": body.len(),
        "hash": hash(&body).to_string(),
        "headers": seen,
    }))
    .into_response()
}

fn in_pieces(slot: Slot, asked: Asked) -> Response {
    let gap = Duration::from_millis(asked.gap_ms);
    let pieces = stream::unfold((slot, 0), move |(slot, piece)| async move {
        if piece == asked.pieces {
            return None;
        }
        tokio::time::sleep(gap).await;
        let text = format!("piece {piece}\n");
        Some((Ok::<_, Infallible>(Bytes::from(text)), (slot, piece + 1)))
    });
    Response::new(Body::from_stream(pieces))
}

fn refuse(reason: &'static str) -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(REFUSED_HEADER, reason)],
        "refused",
    )
        .into_response()
}

/// Microseconds since 1970, to compare with those of clients on this machine.
fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_micros() as u64
}

/// The same in the tests, which compare it with what they sent.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
