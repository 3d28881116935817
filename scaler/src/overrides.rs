//! Orders by hand: `pause`, `hold` and `resume`, and the drain of a worker, from the command line
//! and the status page to the running scaler.
//!
//! They arrive at the scaler's own port with the operator token and wait for the loop, which alone
//! changes the law; they are answered when they are in force and in the ledger.

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
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegate_config::Tokens;
use tidegate_control::{Size, Time};
use tidegate_protocol::Order as Verb;
use tokio::sync::{mpsc, oneshot};

use crate::cli::Target;
use crate::http;
use crate::ledger::{Note, WorkerByHand};
use crate::scaler::Scaler;

const PATH: &str = "/override";

/// Orders about one worker.
const WORKER_PATH: &str = "/override/worker";

/// No order lasts longer: who forgot it is not paid for it forever.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// An order is a line, with a few words on why.
const LARGEST_ORDER_BYTES: usize = 2048;

/// Bytes of who gives an order, and of why.
const LONGEST_NOTE: usize = 200;

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
    /// `None`: the policy decides again.
    size: Option<Size>,
    for_ms: u64,
    #[serde(flatten)]
    note: Note,
}

/// What is sent about one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WorkerOrder {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fleet: Option<String>,
    #[serde(flatten)]
    by_hand: WorkerByHand,
}

/// What is to be done.
#[derive(Clone, Debug)]
enum Wanted {
    Size(Option<Size>, Duration, Note),
    Worker(WorkerByHand),
}

/// An order that waits for the loop.
#[derive(Debug)]
pub struct Request {
    wanted: Wanted,
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
        let tokens = Tokens::read(&self.token_file);
        let given = headers.get("authorization");
        given
            .is_some_and(|given| tokens.is_ok_and(|tokens| tokens.accepts_header(given.as_bytes())))
    }
}

impl Request {
    /// Has it done, between two ticks.
    pub fn apply(self, now: Time, scaler: &mut Scaler) {
        let done = match self.wanted {
            Wanted::Size(size, span, note) => scaler.take_order(now, size, span, note),
            Wanted::Worker(by_hand) => scaler.take_worker_order(now, by_hand),
        };
        // Who does not wait for the answer any more sees it in the log.
        let _ = self.answer.send(done);
    }
}

pub fn routes(inboxes: Vec<Inbox>) -> Router {
    Router::new()
        .route(PATH, post(take))
        .route(WORKER_PATH, post(take_of_worker))
        .layer(DefaultBodyLimit::max(LARGEST_ORDER_BYTES))
        .with_state(Arc::from(inboxes))
}

type Answer = (StatusCode, String);

async fn take(
    State(inboxes): State<Arc<[Inbox]>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<String, Answer> {
    let order: Order = read(&inboxes, &headers, &body)?;
    let span = Duration::from_millis(order.for_ms);
    if span > LONGEST {
        let found = tidegate_config::Duration::from_millis(order.for_ms);
        let days = LONGEST.as_secs() / (24 * 3600);
        let why =
            format!("found --for {found}, expected at most {days}d, so that none is forgotten");
        return Err((StatusCode::BAD_REQUEST, why));
    }
    check(&order.note)?;
    let wanted = Wanted::Size(order.size, span, order.note);
    hand_on(&inboxes, order.fleet.as_deref(), &headers, wanted).await
}

async fn take_of_worker(
    State(inboxes): State<Arc<[Inbox]>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<String, Answer> {
    let order: WorkerOrder = read(&inboxes, &headers, &body)?;
    check(&order.by_hand.note)?;
    let wanted = Wanted::Worker(order.by_hand);
    hand_on(&inboxes, order.fleet.as_deref(), &headers, wanted).await
}

fn read<T: DeserializeOwned>(
    inboxes: &[Inbox],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<T, Answer> {
    // A caller who may order none of the fleets learns nothing of them.
    if !inboxes.iter().any(|inbox| inbox.accepts(headers)) {
        return Err(unauthorized());
    }
    let not_an_order =
        |why: serde_json::Error| (StatusCode::BAD_REQUEST, format!("not an order: {why}"));
    serde_json::from_slice(body).map_err(not_an_order)
}

fn check(note: &Note) -> Result<(), Answer> {
    for (key, text) in [("who", &note.who), ("why", &note.why)] {
        if text.len() > LONGEST_NOTE || text.chars().any(char::is_control) {
            let expected = format!("expected {key} to be one line of at most {LONGEST_NOTE} bytes");
            return Err((StatusCode::BAD_REQUEST, expected));
        }
    }
    Ok(())
}

/// Gives the loop of the fleet what is wanted of it, and waits until it is done.
async fn hand_on(
    inboxes: &[Inbox],
    fleet: Option<&str>,
    headers: &HeaderMap,
    wanted: Wanted,
) -> Result<String, Answer> {
    let inbox = of_fleet(inboxes, fleet).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    if !inbox.accepts(headers) {
        return Err(unauthorized());
    }
    let stopping = || {
        let why = "the scaler is stopping".to_owned();
        (StatusCode::SERVICE_UNAVAILABLE, why)
    };
    let (answer, done) = oneshot::channel();
    let request = Request { wanted, answer };
    (inbox.requests.send(request).await).map_err(|_| stopping())?;
    let done = done.await.map_err(|_| stopping())?;
    done.map_err(|why| (StatusCode::BAD_REQUEST, why))
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

fn unauthorized() -> Answer {
    let why = "the operator token is missing or wrong";
    (StatusCode::UNAUTHORIZED, why.to_owned())
}

/// Orders the size of a fleet from the scaler at `target`, and prints what it says.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub async fn send(
    target: &Target,
    size: Option<Size>,
    span: tidegate_config::Duration,
) -> anyhow::Result<()> {
    let order = Order {
        fleet: target.fleet.clone(),
        size,
        for_ms: span.as_millis() as u64,
        note: note(target),
    };
    let answer = ask(target, PATH, &order).await?;
    let end = size.map_or(String::new(), |_| format!(" for {span}"));
    writeln!(std::io::stdout(), "{answer}{end}")?;
    Ok(())
}

/// Has the scaler at `target` drain a worker or take it back, and prints what it says.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub async fn send_about(target: &Target, worker: String, order: Verb) -> anyhow::Result<()> {
    let order = WorkerOrder {
        fleet: target.fleet.clone(),
        by_hand: WorkerByHand {
            worker,
            order,
            note: note(target),
        },
    };
    let answer = ask(target, WORKER_PATH, &order).await?;
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(())
}

fn note(target: &Target) -> Note {
    Note {
        who: std::env::var("USER").unwrap_or_default(),
        why: target.why.clone().unwrap_or_default(),
    }
}

async fn ask(target: &Target, path: &str, order: &impl Serialize) -> anyhow::Result<String> {
    let tokens = Tokens::read(&target.token_file)?;
    let request = http::client()
        .post(format!("http://{}{path}", target.listen))
        .bearer_auth(tokens.current())
        .timeout(PATIENCE)
        .json(order);
    let unreachable = || format!("the scaler at {} cannot be reached", target.listen);
    let response = request.send().await.with_context(unreachable)?;
    let status = response.status();
    let answer = response.text().await.unwrap_or_default();
    if !status.is_success() {
        bail!(
            "the scaler at {} answers with {status}: {answer}",
            target.listen
        );
    }
    Ok(answer)
}
