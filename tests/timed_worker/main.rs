//! A worker whose service times are set by its requests: the far side of the tests that are
//! about scheduling and not about models. It speaks to proxies as tidegate-worker does.

mod heartbeats;
mod http;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use tidegate_protocol::WorkerState;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

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
    proxy: Vec<String>,
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
    let socket = TcpListener::bind(options.listen).await?;
    let worker = Arc::new(http::Worker::new(options.slots, options.service_ms, &token));
    let beats = heartbeats::Heartbeats {
        id: options.id,
        model: options.name.unwrap_or_else(|| stem(&options.model)),
        address: socket.local_addr()?,
        version: options.version,
        token,
        worker: Arc::clone(&worker),
    };
    let beats = Arc::new(beats);
    for proxy in options.proxy {
        tokio::spawn(heartbeats::run(Arc::clone(&beats), proxy));
    }
    let routes = http::routes(Arc::clone(&worker));
    let server = tokio::spawn(async move { axum::serve(socket, routes).await });
    tokio::select! {
        () = terminated() => {}
        () = stdin_closed(), if options.watch_stdin => {}
    }
    worker.set_state(WorkerState::Draining);
    worker.idle().await;
    server.abort();
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
