//! The admin port of a proxy, as far as workers see it: it writes down heartbeats and hands out orders.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use tidegate_protocol::{HEARTBEAT_PATH, Heartbeat, HeartbeatReply, Order, VERSION};
use tidegate_tests::eventually;
use tokio::net::TcpListener;

pub const NAME: &str = "proxy-a";

#[derive(Clone)]
pub struct FakeProxy {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    heartbeats: Vec<Heartbeat>,
    tokens: Vec<Option<String>>,
    order: Option<Order>,
    refuse: bool,
}

impl FakeProxy {
    pub async fn start() -> FakeProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let proxy = FakeProxy {
            url,
            seen: Arc::default(),
        };
        let routes = Router::new()
            .route(HEARTBEAT_PATH, post(take))
            .with_state(proxy.clone());
        tokio::spawn(async { axum::serve(listener, routes).await });
        proxy
    }

    pub fn order(&self, order: Option<Order>) {
        self.seen().order = order;
    }

    pub fn refuse(&self, refuse: bool) {
        self.seen().refuse = refuse;
    }

    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        self.seen().heartbeats.clone()
    }

    pub fn last_token(&self) -> Option<String> {
        self.seen().tokens.last().cloned().flatten()
    }

    /// Waits for a heartbeat, among those yet to come and the last one, that is like this.
    pub async fn heartbeat(&self, what: &str, like: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let past = self.heartbeats().len().saturating_sub(1);
        eventually(what, async || {
            self.heartbeats()
                .drain(past..)
                .find(|heartbeat| like(heartbeat))
        })
        .await
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no test panicked with it")
    }
}

async fn take(
    State(proxy): State<FakeProxy>,
    headers: HeaderMap,
    Json(heartbeat): Json<Heartbeat>,
) -> Result<Json<HeartbeatReply>, StatusCode> {
    let mut seen = proxy.seen();
    if seen.refuse {
        return Err(StatusCode::FORBIDDEN);
    }
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    seen.tokens.push(token.map(str::to_owned));
    seen.heartbeats.push(heartbeat);
    Ok(Json(HeartbeatReply {
        version: VERSION,
        proxy: NAME.to_owned(),
        order: seen.order,
    }))
}
