//! The status page, and the routes that feed it: people see what the ledger records.
//!
//! The page is one document with everything in it; it fetches nothing but these routes. It shows no
//! content of requests, and anybody who reaches the scaler's port may read it, as with `/metrics`.

mod batches;
mod board;
mod history;
mod queues;
mod relay;
mod view;

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::WatchStream;

pub use self::batches::{Batches, BatchesView};
pub use self::board::{Board, ShownLedger, ShownProxies};
pub use self::history::{By, Change, Point};
pub use self::view::View;

/// The whole page.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let styles = [
        include_str!("page/uplot/uPlot.min.css"),
        include_str!("page/page.css"),
    ];
    let scripts = [
        include_str!("page/page.js"),
        include_str!("page/fleet.js"),
        include_str!("page/batches.js"),
        include_str!("page/plots.js"),
        include_str!("page/orders.js"),
        include_str!("page/playground.js"),
        include_str!("page/start.js"),
    ];
    include_str!("page/index.html")
        .replace("/*styles*/", &styles.concat())
        .replace("/*plots*/", include_str!("page/uplot/uPlot.iife.min.js"))
        .replace("/*script*/", &scripts.concat())
});

/// Nothing from elsewhere is loaded, and no other page may hold this one.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What `/api/status` answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub version: String,
    pub fleets: Vec<View>,
    /// `None` without a batch service.
    pub batches: Option<BatchesView>,
}

/// Who follows the status at once, each with a connection of its own.
const MOST_VIEWERS: usize = 64;

#[derive(Clone)]
struct Boards {
    all: Arc<[Board]>,
    batches: Option<Arc<Batches>>,
    viewers: Arc<Semaphore>,
}

/// The page of these fleets and of the batch service; `clients` is where clients reach the proxies.
pub fn routes(
    boards: Vec<Board>,
    clients: Option<String>,
    batches: Option<&Arc<Batches>>,
) -> Router {
    let boards = Boards {
        all: Arc::from(boards),
        batches: batches.cloned(),
        viewers: Arc::new(Semaphore::new(MOST_VIEWERS)),
    };
    Router::new()
        .route("/", get(page))
        .route("/api/status", get(status))
        .route("/api/history", get(past))
        .route("/api/events", get(events))
        .with_state(boards)
        .merge(relay::routes(clients))
}

async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE.as_str()))
}

impl Boards {
    fn now(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fleets: self.all.iter().filter_map(Board::now).collect(),
            batches: self.batches.as_deref().map(Batches::latest),
        }
    }
}

async fn status(State(boards): State<Boards>) -> impl IntoResponse {
    Json(boards.now())
}

#[derive(Deserialize)]
struct Which {
    /// Where there is one, it need not be named.
    fleet: Option<String>,
}

async fn past(State(boards): State<Boards>, Query(which): Query<Which>) -> Response {
    let is_it = |board: &&Board| {
        which
            .fleet
            .as_ref()
            .is_none_or(|fleet| *fleet == board.fleet)
    };
    match boards.all.iter().find(is_it) {
        Some(board) => Json(board.history().past()).into_response(),
        None => {
            let names: Vec<&str> = boards.all.iter().map(|board| &*board.fleet).collect();
            let why = format!("expected fleet to be one of: {}\n", names.join(", "));
            (StatusCode::NOT_FOUND, why).into_response()
        }
    }
}

/// The status after each tick of any fleet.
async fn events(State(boards): State<Boards>) -> Response {
    let Ok(place) = boards.viewers.clone().try_acquire_owned() else {
        let why = format!("{MOST_VIEWERS} follow the status already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    };
    let ticks = (boards.all.iter()).map(|board| WatchStream::new(board.subscribe()));
    let ticks = futures_util::stream::select_all(ticks);
    let events = ticks.map(move |_| {
        let _place = &place;
        let event = Event::default().json_data(boards.now());
        let unreadable = || Event::default().comment("the status cannot be written");
        Ok::<_, Infallible>(event.unwrap_or_else(|_| unreadable()))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response()
}
