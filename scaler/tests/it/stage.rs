//! What the tests share: a proxy that only signals, scripts that pose as programs, deadlines.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use tidegate_protocol::{ModelSignal, Signal, WorkerSignal, WorkerState};

pub const TOKEN: &str = "operator-0123456789";

/// How long anything may take that is waited for.
const DEADLINE: Duration = Duration::from_secs(20);

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `condition` yields something.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As [`eventually`], in a test that is a task.
pub async fn eventually_async<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begin.elapsed() < DEADLINE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a proxy would report, and what it was ordered.
#[derive(Default)]
pub struct ProxyState {
    pub signal: Signal,
    /// It answers with this instead.
    pub refuses: Option<StatusCode>,
    pub orders: Vec<String>,
}

/// A proxy that signals what a test says and takes drain orders.
#[derive(Clone)]
pub struct FakeProxy {
    pub url: String,
    state: Arc<Mutex<ProxyState>>,
}

impl FakeProxy {
    pub async fn start() -> FakeProxy {
        let state = Arc::new(Mutex::new(ProxyState::default()));
        lock(&state).signal = Signal {
            version: tidegate_protocol::VERSION,
            proxy: "fake".to_owned(),
            epoch: "one".to_owned(),
            models: vec![ModelSignal::default()],
            ..Signal::default()
        };
        let routes = Router::new()
            .route("/signal", get(signal))
            .route("/drain/{worker}", post(drain))
            .route("/undrain/{worker}", post(undrain))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        FakeProxy {
            url: format!("http://{address}"),
            state,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, ProxyState> {
        lock(&self.state)
    }

    /// Requests in the queue and in flight from now on.
    pub fn load(&self, waiting: u64, in_flight: u64) {
        let mut state = self.state();
        state.signal.models[0].waiting = waiting;
        state.signal.models[0].in_flight = in_flight;
    }

    /// The worker heartbeats as ready, with this many permits on it.
    pub fn ready(&self, id: &str, permits: u32) {
        let mut state = self.state();
        let workers = &mut state.signal.workers;
        workers.retain(|worker| worker.worker != id);
        workers.push(WorkerSignal {
            worker: id.to_owned(),
            boot: "b".to_owned(),
            instance: None,
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
            model: "m".to_owned(),
            state: WorkerState::Ready,
            draining: false,
            taking: true,
            slots: 4,
            permits,
            elsewhere: 0,
            beat_age_ms: 0,
        });
    }

    pub fn permits(&self, id: &str, permits: u32) {
        let mut state = self.state();
        let mut workers = state.signal.workers.iter_mut();
        if let Some(worker) = workers.find(|worker| worker.worker == id) {
            worker.permits = permits;
        }
    }
}

type Shared = State<Arc<Mutex<ProxyState>>>;

impl ProxyState {
    fn admit(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let token = headers.get("authorization").and_then(|v| v.to_str().ok());
        match (self.refuses, token == Some(&format!("Bearer {TOKEN}"))) {
            (Some(status), _) => Err(status),
            (None, false) => Err(StatusCode::UNAUTHORIZED),
            (None, true) => Ok(()),
        }
    }

    fn order(&mut self, headers: &HeaderMap, order: &str, id: &str) -> StatusCode {
        if let Err(status) = self.admit(headers) {
            return status;
        }
        self.orders.push(format!("{order} {id}"));
        let workers = self.signal.workers.iter_mut();
        for worker in workers.filter(|worker| worker.worker == id) {
            worker.draining = order == "drain";
        }
        StatusCode::OK
    }
}

async fn signal(State(state): Shared, headers: HeaderMap) -> Result<Json<Signal>, StatusCode> {
    let mut state = lock(&state);
    state.admit(&headers)?;
    state.signal.now_ms += 1_000;
    Ok(Json(state.signal.clone()))
}

async fn drain(
    State(state): Shared,
    headers: HeaderMap,
    UrlPath(id): UrlPath<String>,
) -> StatusCode {
    lock(&state).order(&headers, "drain", &id)
}

async fn undrain(
    State(state): Shared,
    headers: HeaderMap,
    UrlPath(id): UrlPath<String>,
) -> StatusCode {
    lock(&state).order(&headers, "undrain", &id)
}

/// A shell script that poses as a program. One that loops does so while `$0` is there, so that it
/// ends with its test's directory.
pub fn script(directory: &Path, name: &str, body: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("the script is written");
    mode(&file, 0o755);
    file
}

pub fn token_file(directory: &Path, name: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, TOKEN).expect("the token is written");
    mode(&file, 0o600);
    file
}

fn mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("the mode is set");
}
