//! The scaler's own port: `/healthz`, `/metrics`, the status page, and orders by hand.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::overrides::{self, Inbox};
use crate::status::{self, Batches, Board};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_http::{Limits, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A scaler that has not ticked for this long is not healthy.
const LONGEST_TICK: Duration = Duration::from_secs(10);

/// How often counted values are tidied up, as their library asks for.
const UPKEEP: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(
        "the scaler's port {address} is in use; stop what listens there, or change scaler.listen \
         in {}",
        file.display()
    )]
    InUse { address: SocketAddr, file: PathBuf },
    #[error("the scaler cannot listen on {address} (scaler.listen): {cause}")]
    Listen {
        address: SocketAddr,
        cause: std::io::Error,
    },
}

/// Base URLs of other daemons, for the status page.
pub struct Others {
    /// Where clients reach the proxies.
    pub clients: Option<String>,
    /// The batch service.
    pub batch: Option<String>,
}

/// When the last tick ended.
pub type LastTick = watch::Sender<Option<Instant>>;

#[derive(Clone)]
struct Own {
    metrics: PrometheusHandle,
    last_ticks: Vec<watch::Receiver<Option<Instant>>>,
}

/// Binds the port that a policy names, so that a port in use is known before anything is started.
pub async fn bind(address: SocketAddr, file: &Path) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|cause| {
        match cause.kind() == std::io::ErrorKind::AddrInUse {
            true => ServerError::InUse {
                address,
                file: file.to_owned(),
            },
            false => ServerError::Listen { address, cause },
        }
    })
}

/// Serves the fleets of these ticks and inboxes until the task is aborted.
pub fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    last_ticks: Vec<watch::Receiver<Option<Instant>>>,
    inboxes: Vec<Inbox>,
    boards: Vec<Board>,
    others: Others,
) -> JoinHandle<()> {
    let batches = others.batch.map(|url| Arc::new(Batches::new(&url)));
    let own = Own {
        metrics,
        last_ticks,
    };
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route(
            "/metrics",
            get(|State(own): State<Own>| async move { own.metrics.render() }),
        )
        .with_state(own.clone())
        .merge(overrides::routes(inboxes))
        .merge(status::routes(boards, others.clients, batches.as_ref()));
    tokio::spawn(async move {
        // Ends with this task.
        let _server = Server::on(listener, routes, &Limits::default());
        let follow = async {
            if let Some(batches) = &batches {
                batches.follow().await;
            }
        };
        tokio::join!(upkeep(&own.metrics), follow);
    })
}

async fn upkeep(metrics: &PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

async fn healthz(State(own): State<Own>) -> (StatusCode, &'static str) {
    let ticks = |last: &watch::Receiver<Option<Instant>>| {
        let last = *last.borrow();
        last.is_some_and(|last| last.elapsed() < LONGEST_TICK)
    };
    match own.last_ticks.iter().all(ticks) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no tick for 10 s\n"),
    }
}
