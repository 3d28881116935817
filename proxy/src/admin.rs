//! The admin port: heartbeats from workers, the signal and orders for the scaler, metrics.
//!
//! Heartbeats need the worker token; the signal and orders need the operator token. Metrics need
//! the operator token too, unless they are asked for from this machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ipnet::IpNet;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tidegate_config::Tokens;
use tidegate_protocol::{
    DRAIN_PATH, HEARTBEAT_PATH, Heartbeat, HeartbeatReply, SIGNAL_PATH, UNDRAIN_PATH, VERSION,
};
use tidegate_queue::{Moment, Registry, UnknownWorker};

use crate::answers::Answers;
use crate::dispatch::Dispatcher;
use crate::drain::Drain;
use crate::metrics::{Published, publish_answers};

/// Far more than a heartbeat or an order needs.
const BODY_BYTES: usize = 64 << 10;

/// What the admin port works with.
pub struct Admin {
    pub proxy: String,
    pub epoch: String,
    pub dispatcher: Arc<Dispatcher>,
    pub drain: Arc<Drain>,
    pub worker_tokens: Tokens,
    pub operator_tokens: Tokens,
    pub announce_from: Vec<IpNet>,
    pub metrics: PrometheusHandle,
    pub answers: Arc<Answers>,
    pub published: Mutex<Published>,
}

type Shared = State<Arc<Admin>>;
type Peer = ConnectInfo<SocketAddr>;

pub fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route(HEARTBEAT_PATH, post(heartbeat))
        .route(SIGNAL_PATH, get(signal))
        .route(&format!("{DRAIN_PATH}{{worker}}"), post(drain))
        .route(&format!("{UNDRAIN_PATH}{{worker}}"), post(undrain))
        .route("/metrics", get(render_metrics))
        .route("/healthz", get(healthz))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(admin)
}

/// Why a call was not carried out.
enum Refused {
    Unauthenticated,
    ForeignAddress { announced: IpAddr, sender: IpAddr },
    BadHeartbeat(String),
    UnknownWorker(String),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Refused::Unauthenticated => (
                StatusCode::UNAUTHORIZED,
                "this needs `Authorization: Bearer` with a valid token of its role".to_owned(),
            ),
            Refused::ForeignAddress { announced, sender } => (
                StatusCode::FORBIDDEN,
                format!(
                    "{sender} may not announce {announced}: it is neither the sender's own \
                     address nor in workers.announce_from, or it is not a unicast address"
                ),
            ),
            Refused::BadHeartbeat(message) => (StatusCode::BAD_REQUEST, message),
            Refused::UnknownWorker(worker) => (
                StatusCode::NOT_FOUND,
                format!("no worker `{worker}` has announced itself here"),
            ),
        };
        (status, Json(json!({"error": {"message": message}}))).into_response()
    }
}

impl Admin {
    fn check_address(&self, announced: IpAddr, sender: IpAddr) -> Result<(), Refused> {
        let (announced, sender) = (announced.to_canonical(), sender.to_canonical());
        let listed = || {
            self.announce_from
                .iter()
                .any(|net| net.contains(&announced))
        };
        match is_unicast(announced) && (announced == sender || listed()) {
            true => Ok(()),
            false => Err(Refused::ForeignAddress { announced, sender }),
        }
    }
}

/// Link-local addresses are left out: they lead to instance metadata, not to workers.
fn is_unicast(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(local || address.is_unspecified() || address.is_multicast())
}

fn authenticate(tokens: &Tokens, headers: &HeaderMap) -> Result<(), Refused> {
    let given = headers.get(AUTHORIZATION);
    match given.is_some_and(|given| tokens.accepts_header(given.as_bytes())) {
        true => Ok(()),
        false => Err(Refused::Unauthenticated),
    }
}

async fn heartbeat(
    State(admin): Shared,
    ConnectInfo(peer): Peer,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Json<HeartbeatReply>, Refused> {
    authenticate(&admin.worker_tokens, &headers)?;
    let said: Heartbeat = serde_json::from_slice(&body)
        .map_err(|error| Refused::BadHeartbeat(format!("this is no heartbeat: {error}")))?;
    admin.check_address(said.address.ip(), peer.ip())?;
    let order = admin
        .dispatcher
        .change(|registry, now| registry.heartbeat(now, said));
    Ok(Json(HeartbeatReply {
        version: VERSION,
        proxy: admin.proxy.clone(),
        order: order.map_err(|error| Refused::BadHeartbeat(error.to_string()))?,
    }))
}

async fn signal(State(admin): Shared, headers: HeaderMap) -> Result<Response, Refused> {
    authenticate(&admin.operator_tokens, &headers)?;
    let now = admin.dispatcher.now();
    let signal = admin
        .dispatcher
        .read(|registry| registry.signal(now, &admin.proxy, &admin.epoch));
    Ok(Json(signal).into_response())
}

async fn drain(
    State(admin): Shared,
    headers: HeaderMap,
    Path(worker): Path<String>,
) -> Result<Json<Value>, Refused> {
    order(&admin, &headers, worker, Registry::drain)?;
    Ok(Json(json!({"draining": true})))
}

async fn undrain(
    State(admin): Shared,
    headers: HeaderMap,
    Path(worker): Path<String>,
) -> Result<Json<Value>, Refused> {
    order(&admin, &headers, worker, Registry::undrain)?;
    Ok(Json(json!({"draining": false})))
}

fn order(
    admin: &Admin,
    headers: &HeaderMap,
    worker: String,
    order: impl FnOnce(&mut Registry, Moment, &str) -> Result<(), UnknownWorker>,
) -> Result<(), Refused> {
    authenticate(&admin.operator_tokens, headers)?;
    let ordered = admin
        .dispatcher
        .change(|registry, now| order(registry, now, &worker));
    ordered.map_err(|UnknownWorker| Refused::UnknownWorker(worker))
}

async fn render_metrics(
    State(admin): Shared,
    ConnectInfo(peer): Peer,
    headers: HeaderMap,
) -> Result<String, Refused> {
    if !peer.ip().to_canonical().is_loopback() {
        authenticate(&admin.operator_tokens, &headers)?;
    }
    let now = admin.dispatcher.now();
    let signal = admin
        .dispatcher
        .read(|registry| registry.signal(now, &admin.proxy, &admin.epoch));
    let published = admin.published.lock();
    let mut published = published.unwrap_or_else(PoisonError::into_inner);
    published.publish(&signal);
    publish_answers(&admin.answers);
    Ok(admin.metrics.render())
}

async fn healthz(State(admin): Shared) -> Response {
    match admin.drain.has_begun() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
        false => "ok\n".into_response(),
    }
}
