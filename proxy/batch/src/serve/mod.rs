//! `serve`: files and batches over HTTP, as OpenAI's clients ask for them.
//!
//! A client's key names the owner of its files and batches. It is checked where there is
//! `clients.api_keys_file`; elsewhere `listen` is for loopback, or a private network whose callers are
//! all trusted.

mod backing;
mod batches;
mod error;
mod files;
mod http;
mod listed;
mod overview;
mod owner;
mod schedule;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::middleware::from_fn;
use tidegate_http::{Limits, Server, identify};
use tidegate_keys::{KeyError, KeyRing};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

pub use self::backing::Backing;
use self::http::App;
use self::overview::Overview;
use crate::ask::Asker;
use crate::command::ServeArgs;
use crate::config::Config;
use crate::metrics;
use crate::sagemaker::{self, Answerer, Deferred, Places, Runtime};
use crate::store::StoreError;
use crate::work::Shared;

/// How often the store is looked through for files whose time is over.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// Time for the last answers to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a probe waits.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Serves until told to stop.
pub async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    if args.check {
        let file = args.config.clone().unwrap_or_default();
        println!("{} is valid", file.display());
        return Ok(());
    }
    let keys = key_ring(&config)?;
    let asker = Asker::new(&config.proxy)?;
    let runtime = Runtime::new(&config.sagemaker, &asker)?.map(Arc::new);
    let shared = Arc::new(Shared::new(
        asker,
        config.proxy.in_flight_bytes,
        config.files.limits(),
        *config.drain_limit,
    ));
    let answerer = answerer(&config, &shared).await?;
    let backing = Arc::new(Backing::open(&config, shared, answerer.clone()).await?);
    let metrics = metrics::install().context("cannot record metrics")?;
    let listener = TcpListener::bind(config.listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {} (`listen`)", config.listen))?;
    let (stop, stopped) = watch::channel(false);
    let app = Arc::new(App {
        backing: Arc::clone(&backing),
        config: config.clone(),
        metrics,
        keys: keys.clone(),
        overview: Overview::default(),
    });
    if let Some(keys) = keys {
        // Ends with the runtime.
        tokio::spawn(keys.keep_fresh());
    }
    let mut routes = http::routes(app);
    if let Some(runtime) = runtime {
        let deferred = Deferred {
            runtime: Arc::clone(&runtime),
            backing: Arc::clone(&backing),
            answerer,
            keep_seconds: config.files.keep.as_secs(),
            line_bytes: config.files.line_bytes,
        };
        routes = routes.merge(sagemaker::routes(runtime, deferred));
    }
    let (working, purged) = (Arc::clone(&backing), Arc::clone(&backing));
    let at_work = tokio::spawn(async move { working.run(stopped).await });
    let purge = tokio::spawn(purge(purged));
    let server = Server::on(
        listener,
        routes.layer(from_fn(identify)),
        &Limits::default(),
    );
    info!(listen = %config.listen, store = %config.store.display(), proxy = config.proxy.url, "serving");
    asked_to_stop(args.watch_stdin).await?;
    info!("stopping; waiting for the lines in flight");
    stop.send_replace(true);
    at_work.await.context("the batches at work")?;
    purge.abort();
    // A client that reads a large file slowly is not waited for.
    server.finish(LAST_WORDS).await;
    info!("stopped");
    Ok(())
}

fn key_ring(config: &Config) -> Result<Option<Arc<KeyRing>>, KeyError> {
    let file = config.clients.api_keys_file.as_deref();
    if file.is_none() && !config.listen.ip().is_loopback() {
        warn!(
            listen = %config.listen,
            "any key is taken from whoever reaches this address (clients.api_keys_file)"
        );
    }
    Ok(file.map(KeyRing::read).transpose()?.map(Arc::new))
}

/// Where answers of asynchronous requests go to S3.
async fn answerer(
    config: &Config,
    shared: &Arc<Shared>,
) -> Result<Option<Arc<Answerer>>, StoreError> {
    let places = Places::connect(config).await?;
    let answerer = |places| Arc::new(Answerer::new(places, Arc::clone(shared)));
    Ok(places.map(answerer))
}

/// Removes files whose time is over.
async fn purge(backing: Arc<Backing>) {
    let mut interval = tokio::time::interval(PURGE_EVERY);
    loop {
        interval.tick().await;
        match backing.remove_expired().await {
            Ok(0) => {}
            Ok(files) => info!(files, "removed expired files"),
            Err(error) => warn!(%error, "expired files could not be removed"),
        }
    }
}

async fn asked_to_stop(watch_stdin: bool) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let closed = async {
        let mut byte = [0];
        let mut input = tokio::io::stdin();
        while watch_stdin && matches!(input.read(&mut byte).await, Ok(1..)) {}
        if !watch_stdin {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = closed => {}
    }
    Ok(())
}

/// Asks the service of this machine whether it serves.
pub async fn probe(listen: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{listen}/readyz");
    let client = reqwest::Client::builder().timeout(PROBE_LIMIT).build()?;
    let answer = client.get(url).send().await;
    let status = answer
        .with_context(|| format!("nothing answers on {listen}"))?
        .status();
    match status.is_success() {
        true => Ok(()),
        false => bail!("not serving: {status}"),
    }
}
