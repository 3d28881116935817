//! S3 on this machine: one object, with ranges and signed requests alone, that can break off or
//! refuse.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

pub const REGION: &str = "eu-central-1";

#[derive(Clone)]
pub struct FakeS3 {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    object: Vec<u8>,
    /// Of the object's bytes, those that are still handed out.
    budget: AtomicU64,
    /// It answers with this status instead, when it is not 0.
    status: AtomicU16,
    /// The path and the first byte of each request.
    asked: Mutex<Vec<(String, u64)>>,
}

impl FakeS3 {
    pub async fn start(object: Vec<u8>) -> FakeS3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shared = Arc::new(Shared {
            object,
            budget: AtomicU64::new(u64::MAX),
            status: AtomicU16::new(0),
            asked: Mutex::default(),
        });
        let routes = Router::new()
            .fallback(get(object_part))
            .with_state(shared.clone());
        tokio::spawn(async { axum::serve(listener, routes).await });
        FakeS3 { url, shared }
    }

    /// Hands out this much more, and then breaks every connection off.
    pub fn give(&self, bytes: u64) {
        self.shared.budget.store(bytes, Ordering::Relaxed);
    }

    pub fn refuse(&self, status: u16) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    pub fn asked(&self) -> Vec<(String, u64)> {
        let asked = self.shared.asked.lock();
        asked.expect("no test panicked with it").clone()
    }
}

async fn object_part(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scope = format!("/{REGION}/s3/aws4_request");
    let signed = text("authorization").is_some_and(|value| {
        value.starts_with("AWS4-HMAC-SHA256 Credential=test/") && value.contains(&scope)
    });
    if !signed || text("x-amz-date").is_none() || text("x-amz-content-sha256").is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let from = text("range")
        .and_then(|range| {
            range
                .strip_prefix("bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let asked = shared.asked.lock();
    asked
        .expect("no test panicked with it")
        .push((uri.path().to_owned(), from));
    if let Some(refusal) = refusal(shared.status.load(Ordering::Relaxed)) {
        return refusal;
    }
    let whole = shared.object.len();
    if from as usize >= whole {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let part = shared.object[from as usize..].to_vec();
    let described = [
        ("content-length", part.len().to_string()),
        (
            "content-range",
            format!("bytes {from}-{}/{whole}", whole - 1),
        ),
    ];
    let status = match text("range") {
        Some(_) => StatusCode::PARTIAL_CONTENT,
        None => StatusCode::OK,
    };
    (status, described, rationed(&shared, part)).into_response()
}

fn refusal(status: u16) -> Option<Response> {
    let code = match status {
        0 => return None,
        301 => "PermanentRedirect",
        403 => "AccessDenied",
        404 => "NoSuchKey",
        _ => "SlowDown",
    };
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said S3</Message></Error>"
    );
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = (status, body).into_response();
    if code == "PermanentRedirect" {
        let region = axum::http::HeaderValue::from_static("us-west-2");
        response.headers_mut().insert("x-amz-bucket-region", region);
    }
    Some(response)
}

/// As much of a part as is left to hand out; the connection breaks where it ends.
fn rationed(shared: &Shared, part: Vec<u8>) -> Body {
    let wanted = part.len() as u64;
    let left = shared.budget.load(Ordering::Relaxed);
    let rest = left.saturating_sub(wanted);
    shared.budget.store(rest, Ordering::Relaxed);
    if left >= wanted {
        return Body::from(part);
    }
    let beginning = part[..left as usize].to_vec();
    let broken = Err(std::io::Error::other("the connection breaks"));
    Body::from_stream(futures_util::stream::iter([Ok(beginning), broken]))
}
