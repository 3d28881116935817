//! A worker whose service times are set by its requests: the far side of the tests that are
//! about scheduling and not about models. It admits requests and announces itself with the same
//! code as tidegate-worker.

mod http;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidegate_agent::{Announced, Heartbeats, Identity, Intervals, ProxyUrl, Subject};
use tidegate_http::{Limits, Server};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Time for the last answers to be written once all work is done.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Serve(Options),
}

/// The options of tidegate-worker that a fleet passes, and what a test sets.
#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "timed")]
    model: PathBuf,
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    id: String,
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    proxy: Vec<ProxyUrl>,
    #[arg(long)]
    token_file: PathBuf,
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long)]
    watch_stdin: bool,
    #[arg(long, default_value_t = 4, env = "TIMED_WORKER_SLOTS")]
    slots: u32,
    /// Service time of requests that set none.
    #[arg(long, default_value_t = 0, env = "TIMED_WORKER_SERVICE_MS")]
    service_ms: u64,
    /// The version that its heartbeats claim.
    #[arg(long, default_value_t = tidegate_protocol::VERSION)]
    version: u32,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let Verb::Serve(options) = Command::parse().verb;
    let token = std::fs::read_to_string(&options.token_file)?;
    let token = token.lines().next().unwrap_or_default().to_owned();
    let worker = Arc::new(http::Worker::new(options.slots, options.service_ms, &token));
    let limits = Limits {
        connections: 100_000,
        ..Limits::default()
    };
    let routes = http::routes(Arc::clone(&worker));
    let (server, address) = Server::start(options.listen, routes, &limits).await?;
    let subject = Subject {
        identity: Identity::new(
            Some(options.id),
            None,
            Announced::new(None, address),
            address.port(),
        ),
        model: options.name.unwrap_or_else(|| stem(&options.model)),
        life: Arc::clone(&worker.life),
        admission: Arc::clone(&worker.admission),
        waiting: Arc::new(|| 0),
        token: Some(token),
        version: options.version,
    };
    let intervals = Intervals {
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(800),
    };
    worker.life.warmed_up();
    let heartbeats = Heartbeats::start(&subject, &options.proxy, intervals);
    let heartbeats = heartbeats.map_err(std::io::Error::other)?;
    tokio::select! {
        () = terminated() => {}
        () = stdin_closed(), if options.watch_stdin => {}
    }
    worker.life.stop();
    worker.admission.empty().await;
    heartbeats.leave().await;
    server.finish(LAST_WORDS).await;
    // The runtime would wait for a read of standard input that may never end.
    std::process::exit(0)
}

fn stem(path: &std::path::Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

async fn terminated() {
    if let Ok(mut signals) = signal(SignalKind::terminate()) {
        signals.recv().await;
    }
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    while matches!(stdin.read(&mut [0; 64]).await, Ok(read) if read > 0) {}
}
