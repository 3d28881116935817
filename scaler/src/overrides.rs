//! Orders by hand: `pause`, `hold` and `resume`, from the command line to the running scaler.
//!
//! They come in at the scaler's own port with the operator token, wait for the loop, which alone
//! touches the law, and are answered when they are in force and in the ledger.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tidegate_config::Tokens;
use tidegate_control::{Size, Time};
use tokio::sync::{mpsc, oneshot};

use crate::cli::Target;
use crate::http;
use crate::scaler::Scaler;

const PATH: &str = "/override";

/// No order lasts longer: who forgot it is not paid for it forever.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// An order is a line.
const LARGEST_ORDER_BYTES: usize = 1024;

/// Orders that wait for the loop.
const WAITING: usize = 8;

/// For the answer to an order, which waits for the tick that is under way.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    /// Which of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fleet: Option<String>,
    /// `None`: the law decides again.
    size: Option<Size>,
    for_ms: u64,
}

/// An order that waits for the loop.
#[derive(Debug)]
pub struct Request {
    order: Order,
    answer: oneshot::Sender<Result<String, String>>,
}

pub type Requests = mpsc::Receiver<Request>;

/// Where orders for a fleet are taken.
#[derive(Clone, Debug)]
pub struct Inbox {
    fleet: String,
    /// Read anew for each order, so that a changed token counts at once.
    token_file: PathBuf,
    requests: mpsc::Sender<Request>,
}

impl Inbox {
    pub fn new(fleet: &str, token_file: PathBuf) -> (Inbox, Requests) {
        let (requests, waiting) = mpsc::channel(WAITING);
        let inbox = Inbox {
            fleet: fleet.to_owned(),
            token_file,
            requests,
        };
        (inbox, waiting)
    }

    fn accepts(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer "));
        let tokens = Tokens::read(&self.token_file);
        token.is_some_and(|token| tokens.is_ok_and(|tokens| tokens.accepts(token)))
    }
}

impl Request {
    /// Has it done, between two ticks.
    pub fn apply(self, now: Time, scaler: &mut Scaler) {
        let Order { size, for_ms, .. } = self.order;
        let done = scaler.take_order(now, size, Duration::from_millis(for_ms));
        // Who does not wait for the answer any more sees it in the log.
        let _ = self.answer.send(done);
    }
}

pub fn routes(inboxes: Vec<Inbox>) -> Router {
    Router::new()
        .route(PATH, post(take))
        .layer(DefaultBodyLimit::max(LARGEST_ORDER_BYTES))
        .with_state(Arc::from(inboxes))
}

async fn take(
    State(inboxes): State<Arc<[Inbox]>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    // Whoever may order about none of the fleets is told nothing of them.
    if !inboxes.iter().any(|inbox| inbox.accepts(&headers)) {
        return unauthorized();
    }
    let order = match serde_json::from_slice::<Order>(&body) {
        Ok(order) if Duration::from_millis(order.for_ms) <= LONGEST => order,
        Ok(order) => {
            let found = tidegate_config::Duration::from_millis(order.for_ms);
            let days = LONGEST.as_secs() / (24 * 3600);
            let why =
                format!("found --for {found}, expected at most {days}d, so that none is forgotten");
            return (StatusCode::BAD_REQUEST, why);
        }
        Err(why) => return (StatusCode::BAD_REQUEST, format!("not an order: {why}")),
    };
    let inbox = match of_fleet(&inboxes, order.fleet.as_deref()) {
        Ok(inbox) if inbox.accepts(&headers) => inbox,
        Ok(_) => return unauthorized(),
        Err(why) => return (StatusCode::BAD_REQUEST, why),
    };
    let (answer, done) = oneshot::channel();
    if inbox
        .requests
        .send(Request { order, answer })
        .await
        .is_err()
    {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the scaler is stopping".to_owned(),
        );
    }
    match done.await {
        Ok(Ok(told)) => (StatusCode::OK, told),
        Ok(Err(why)) => (StatusCode::BAD_REQUEST, why),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the scaler is stopping".to_owned(),
        ),
    }
}

/// Whose inbox an order is for. Where there is one, it need not be named.
fn of_fleet<'a>(inboxes: &'a [Inbox], fleet: Option<&str>) -> Result<&'a Inbox, String> {
    let names: Vec<&str> = inboxes.iter().map(|inbox| &*inbox.fleet).collect();
    let names = names.join(", ");
    match (fleet, inboxes) {
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("expected one of {names} as --fleet, found none")),
        (Some(fleet), _) => (inboxes.iter().find(|inbox| inbox.fleet == fleet))
            .ok_or_else(|| format!("found --fleet \"{fleet}\", expected one of {names}")),
    }
}

fn unauthorized() -> (StatusCode, String) {
    let why = "the operator token is missing or wrong";
    (StatusCode::UNAUTHORIZED, why.to_owned())
}

/// Gives an order to the scaler at `target` and prints what it says.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub async fn send(
    target: &Target,
    size: Option<Size>,
    span: tidegate_config::Duration,
) -> anyhow::Result<()> {
    let tokens = Tokens::read(&target.token_file)?;
    let order = Order {
        fleet: target.fleet.clone(),
        size,
        for_ms: span.as_millis() as u64,
    };
    let request = http::client()
        .post(format!("http://{}{PATH}", target.listen))
        .bearer_auth(tokens.current())
        .timeout(PATIENCE)
        .json(&order);
    let unreachable = || format!("the scaler at {} cannot be reached", target.listen);
    let response = request.send().await.with_context(unreachable)?;
    let status = response.status();
    let told = response.text().await.unwrap_or_default();
    if !status.is_success() {
        bail!(
            "the scaler at {} answers with {status}: {told}",
            target.listen
        );
    }
    let end = size.map_or(String::new(), |_| format!(" for {span}"));
    writeln!(std::io::stdout(), "{told}{end}")?;
    Ok(())
}
