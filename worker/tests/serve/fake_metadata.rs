//! The instance metadata service on this machine: version 2 alone, with what a test says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, put};
use tokio::net::TcpListener;

#[derive(Clone)]
pub struct FakeMetadata {
    pub url: String,
    seen: Arc<Mutex<Data>>,
}

#[derive(Default)]
pub struct Data {
    /// By the path below `meta-data`.
    pub entries: BTreeMap<&'static str, String>,
    /// It answers everything with 503.
    pub broken: bool,
    /// How many tokens were given; only the last is valid.
    pub tokens: u32,
}

impl FakeMetadata {
    /// Of an instance called `i-0123456789abcdef0` that is in service.
    pub async fn start() -> FakeMetadata {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let metadata = FakeMetadata {
            url,
            seen: Arc::default(),
        };
        metadata.say("instance-id", "i-0123456789abcdef0");
        metadata.say("autoscaling/target-lifecycle-state", "InService");
        let routes = Router::new()
            .route("/latest/api/token", put(token))
            .route("/latest/meta-data/{*path}", get(entry))
            .with_state(metadata.clone());
        tokio::spawn(async { axum::serve(listener, routes).await });
        metadata
    }

    pub fn data(&self) -> MutexGuard<'_, Data> {
        self.seen.lock().expect("no test panicked with it")
    }

    pub fn say(&self, path: &'static str, text: &str) {
        self.data().entries.insert(path, text.to_owned());
    }

    /// Tokens that were given so far become worth nothing.
    pub fn expire(&self) {
        self.data().tokens += 1;
    }
}

async fn token(
    State(metadata): State<FakeMetadata>,
    headers: HeaderMap,
) -> Result<String, StatusCode> {
    let mut data = metadata.data();
    let seconds = headers.get("x-aws-ec2-metadata-token-ttl-seconds");
    let seconds = seconds.and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    match seconds.is_some_and(|seconds| (1..=21_600).contains(&seconds)) {
        _ if data.broken => Err(StatusCode::SERVICE_UNAVAILABLE),
        false => Err(StatusCode::BAD_REQUEST),
        true => {
            data.tokens += 1;
            Ok(format!("token-{}", data.tokens))
        }
    }
}

async fn entry(
    State(metadata): State<FakeMetadata>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<String, StatusCode> {
    let data = metadata.data();
    let token = headers.get("x-aws-ec2-metadata-token");
    let valid =
        token.and_then(|value| value.to_str().ok()) == Some(&format!("token-{}", data.tokens));
    match valid {
        _ if data.broken => Err(StatusCode::SERVICE_UNAVAILABLE),
        false => Err(StatusCode::UNAUTHORIZED),
        true => {
            let entry = data.entries.get(path.as_str());
            entry.cloned().ok_or(StatusCode::NOT_FOUND)
        }
    }
}
