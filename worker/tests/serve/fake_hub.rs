//! A hub on this machine: serves one repository out of a directory, with ranges, and can break
//! off a download or ask for a token.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const REPOSITORY: &str = "org/tiny";
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [&str; 5] = [
    "config.json",
    "tokenizer.json",
    "modules.json",
    "1_Pooling/config.json",
    "model.safetensors",
];

pub struct FakeHub {
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    files: PathBuf,
    token: Option<&'static str>,
    /// Whether every file is answered whole, whatever range was asked for.
    whole: AtomicBool,
    /// Whether a range is answered with half of it, and without one the whole file.
    shortens: AtomicBool,
    /// Bytes of the weights that are still handed out, those of the first part not counted.
    budget: AtomicU64,
    /// First bytes of the ranges of the weights that were asked for.
    ranges: Mutex<Vec<u64>>,
}

impl FakeHub {
    pub async fn start(files: PathBuf, token: Option<&'static str>) -> FakeHub {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shared = Arc::new(Shared {
            files,
            token,
            whole: AtomicBool::new(false),
            shortens: AtomicBool::new(false),
            budget: AtomicU64::new(u64::MAX),
            ranges: Mutex::default(),
        });
        let routes = Router::new()
            .route("/api/models/org/tiny/revision/{revision}", get(describe))
            .route("/org/tiny/resolve/{revision}/{*file}", get(file))
            .with_state(shared.clone());
        let task = tokio::spawn(async {
            axum::serve(listener, routes).await.expect("it serves");
        });
        FakeHub { url, shared, task }
    }

    /// Answers no ranges from now on, as some mirrors do.
    pub fn answer_whole(&self) {
        self.shared.whole.store(true, Ordering::Relaxed);
    }

    /// Answers a range with half of it from now on.
    pub fn shorten(&self) {
        self.shared.shortens.store(true, Ordering::Relaxed);
    }

    /// Hands out this much more of the weights, and then breaks every connection off.
    pub fn give(&self, bytes: u64) {
        self.shared.budget.store(bytes, Ordering::Relaxed);
    }

    pub fn ranges(&self) -> Vec<u64> {
        self.shared
            .ranges
            .lock()
            .expect("no test panicked with it")
            .clone()
    }

    pub fn close(self) {
        self.task.abort();
    }
}

impl Shared {
    fn admits(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        self.token
            .is_none_or(|token| given == Some(&format!("Bearer {token}")))
    }
}

async fn describe(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !shared.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let siblings: Vec<_> = FILES
        .iter()
        .map(|file| json!({ "rfilename": file }))
        .collect();
    axum::Json(json!({ "sha": COMMIT, "siblings": siblings })).into_response()
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if !shared.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(content) = std::fs::read(shared.files.join(&name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = format!("\"{:x}-{}\"", content.len(), name.replace('/', "-"));
    let shortens = shared.shortens.load(Ordering::Relaxed);
    let is_whole = shortens && !headers.contains_key(header::RANGE);
    if shared.whole.load(Ordering::Relaxed) || is_whole {
        let described = [("x-repo-commit", COMMIT.to_owned()), ("etag", etag)];
        return (described, content).into_response();
    }
    let Some((first, mut last)) = range(&headers, content.len()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if shortens {
        last = first + (last - first) / 2;
    }
    let part = content[first..=last].to_vec();
    let described = [
        ("x-repo-commit", COMMIT.to_owned()),
        ("etag", etag),
        (
            "content-range",
            format!("bytes {first}-{last}/{}", content.len()),
        ),
        ("content-length", part.len().to_string()),
    ];
    let body = match name.as_str() {
        "model.safetensors" if part.len() > 1 => {
            shared
                .ranges
                .lock()
                .expect("no test panicked with it")
                .push(first as u64);
            match first {
                0 => Body::from(part),
                _ => rationed(&shared, part),
            }
        }
        _ => Body::from(part),
    };
    (StatusCode::PARTIAL_CONTENT, described, body).into_response()
}

/// As much of a part as is left to hand out; the connection breaks where it ends, when parts that
/// are given whole have had time to arrive.
fn rationed(shared: &Shared, part: Vec<u8>) -> Body {
    let wanted = part.len() as u64;
    let left = shared.budget.load(Ordering::Relaxed);
    shared
        .budget
        .store(left.saturating_sub(wanted), Ordering::Relaxed);
    if left >= wanted {
        return Body::from(part);
    }
    let beginning = part[..left as usize].to_vec();
    let breaks = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Err(std::io::Error::other("the connection breaks"))
    };
    Body::from_stream(stream::iter([Ok(beginning)]).chain(stream::once(breaks)))
}

/// The first and the last byte asked for.
fn range(headers: &HeaderMap, length: usize) -> Option<(usize, usize)> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let last = last.parse::<usize>().ok()?.min(length - 1);
    (first <= last).then_some((first, last))
}
