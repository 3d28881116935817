//! `tidegate-worker serve`.
//!
//! Start: listen, announce `warming`, load the model, compute once, announce `ready`.
//! Shutdown, by a signal or because the instance will end: refuse new requests and announce `draining`;
//! finish accepted requests, up to a deadline; send their answers; exit. If a compute thread panics, the
//! process exits at once.

mod check;
mod decoder;
mod fitness;
mod load;
mod metadata;
mod notices;
mod seq2seq;
mod stop;

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tidegate_agent::{
    Admission, Announced, Capacity, Heartbeats, Identity, Intervals, Lifecycle, Subject,
};
use tidegate_config::{TokenError, Tokens};
use tidegate_http::{Limits, Server};
use tidegate_protocol::VERSION;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tracing::info;

pub use self::check::{Checked, check};
pub use self::fitness::Unfit;
pub use self::load::fetch;
use self::metadata::{Metadata, MetadataError};
use self::notices::Notices;
pub use self::stop::{StandardInput, Stop};
use crate::api::{self, App, Pool};
use crate::config::{LimitsConfig, WorkerConfig};
use crate::engine::{self, Watch};
use crate::models::{HubError, ModelError, S3Error};
use crate::{metrics, threads};

/// Time for the last answers to be written once all are computed.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[derive(Debug, Error)]
pub enum ServeError {
    #[error("no model is given; use --model PATH, or `model` in the config file")]
    NoModel,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot listen on {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("the model does not load: {0}")]
    Model(#[from] ModelError),
    #[error("the model is not served: {0}")]
    Unfit(#[from] Unfit),
    #[error("the model cannot be fetched: {0}")]
    Hub(#[from] HubError),
    #[error("the model cannot be fetched: {0}")]
    S3(#[from] Box<S3Error>),
    #[error("the instance's id cannot be read from its metadata ({url}): {error}")]
    Metadata { url: String, error: MetadataError },
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the model does not load: its loader panicked")]
    LoadPanicked,
    #[error("heartbeats cannot be set up: {0}")]
    Heartbeats(reqwest::Error),
    #[error("the computing thread {name} panicked; its requests are lost, so the process exits")]
    ThreadDied { name: String },
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("{cut} requests were cut off at the end of the drain deadline")]
    CutOff { cut: u32 },
}

impl ServeError {
    /// Whether the configuration is to blame, so that starting again would change nothing.
    pub fn is_bad_config(&self) -> bool {
        matches!(
            self,
            ServeError::NoModel | ServeError::Token(_) | ServeError::Unfit(_)
        )
    }
}

/// Serves until told to stop.
pub async fn run(config: WorkerConfig, mut stop: Stop) -> Result<(), ServeError> {
    let source = config.model.clone().ok_or(ServeError::NoModel)?;
    let app = Arc::new(App {
        name: config.name.clone().unwrap_or_else(|| source.stem()),
        answers: AtomicU64::new(0),
        created: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        limits: config.limits.clone(),
        tokens: config.token_file.as_deref().map(Tokens::read).transpose()?,
        admission: Admission::new(Capacity {
            requests: config.slots.get(),
            tokens: None,
        }),
        life: Arc::new(Lifecycle::new()),
        bodies: Pool::new(config.limits.all_bodies_bytes.get()),
        results: Pool::new(config.limits.all_results_bytes.get()),
        readers: Arc::new(Semaphore::new(threads::count(config.threads))),
        metrics: metrics::install(&config.metrics.aliases)?,
        served: OnceLock::new(),
        generating: OnceLock::new(),
        writing: OnceLock::new(),
    });
    // Ends with this function.
    let mut upkeep = JoinSet::new();
    upkeep.spawn(metrics::keep_up(app.metrics.clone()));
    let started = Server::start(
        config.listen,
        api::routes(app.clone()),
        &limits(&config.limits),
    )
    .await;
    let (server, address) = started.map_err(|error| ServeError::Listen {
        address: config.listen,
        error,
    })?;
    let (instance, metadata) = tokio::select! {
        learned = learn_instance(&config) => learned?,
        why = stop.asked() => {
            info!(why, "stopping before the first heartbeat");
            return Ok(());
        }
    };
    let notices = Notices::start(metadata, &config.metadata);
    let mut leave = Leave { stop, notices };
    let heartbeats = start_heartbeats(&app, &config, instance, address)?;
    let (deaths, mut watch) = engine::deaths();
    let asked = tokio::select! {
        loaded = load::load(&app, &source, &config, &deaths) => {
            loaded?;
            app.life.warmed_up();
            let threads = threads::count(config.threads);
            info!(model = app.name, %address, threads, "ready");
            None
        }
        reason = leave.asked() => Some(reason),
    };
    let reason = match asked {
        Some(reason) => reason,
        None => alive(leave.asked(), &mut watch).await?,
    };
    let state = app.life.state();
    info!(why = reason.why, ?state, "stopping");
    let shut_down = shut_down(&app, server, heartbeats, &config, reason, leave);
    alive(shut_down, &mut watch).await?
}

/// Waits for something, as long as all computing threads live.
async fn alive<T>(something: impl Future<Output = T>, watch: &mut Watch) -> Result<T, ServeError> {
    tokio::select! {
        done = something => Ok(done),
        name = watch.died() => Err(ServeError::ThreadDied { name }),
    }
}

fn limits(config: &LimitsConfig) -> Limits {
    Limits {
        connections: config.max_connections.get(),
        header_time: *config.header_timeout,
        buffer_bytes: config.max_header_bytes.get(),
        write_time: *config.write_timeout,
        ..Limits::default()
    }
}

/// Everything that may tell the worker to leave.
struct Leave {
    stop: Stop,
    notices: Notices,
}

/// Why the worker leaves.
struct Reason {
    why: String,
    /// The instance is to end; nobody has stopped the process.
    is_notice: bool,
}

impl Leave {
    async fn asked(&mut self) -> Reason {
        tokio::select! {
            why = self.stop.asked() => Reason { why: why.to_owned(), is_notice: false },
            why = self.notices.leave() => Reason { why, is_notice: true },
        }
    }
}

/// The instance's id, and its metadata if they are to be asked.
async fn learn_instance(
    config: &WorkerConfig,
) -> Result<(Option<String>, Option<Metadata>), ServeError> {
    let failed = |error| ServeError::Metadata {
        url: (config.metadata.url.as_ref()).map_or(String::new(), |url| url.as_str().to_owned()),
        error,
    };
    let mut metadata = Metadata::new(&config.metadata).map_err(failed)?;
    let instance = match (&config.instance, &mut metadata) {
        (None, Some(metadata)) => Some(metadata.instance_id().await.map_err(failed)?),
        (instance, _) => instance.clone(),
    };
    Ok((instance, metadata))
}

fn start_heartbeats(
    app: &Arc<App>,
    config: &WorkerConfig,
    instance: Option<String>,
    listening: SocketAddr,
) -> Result<Heartbeats, ServeError> {
    let announced = Announced::new(config.advertise, listening);
    // The scaler knows an instance by its id, and there is one worker on it.
    let on_instance = config.metadata.url.as_ref().and(instance.clone());
    let id = config.id.clone().or(on_instance);
    let identity = Identity::new(id, instance, announced, listening.port());
    if !config.proxies.is_empty() {
        info!(
            worker = identity.worker,
            proxies = config.proxies.len(),
            "sending heartbeats"
        );
    }
    let counted = app.clone();
    let subject = Subject {
        identity,
        model: app.name.clone(),
        life: app.life.clone(),
        admission: app.admission.clone(),
        waiting: Arc::new(move || counted.waiting()),
        token: app
            .tokens
            .as_ref()
            .map(|tokens| tokens.current().to_owned()),
        version: VERSION,
    };
    let intervals = Intervals {
        interval: *config.beat.interval,
        timeout: *config.beat.timeout,
    };
    Heartbeats::start(&subject, &config.proxies, intervals).map_err(ServeError::Heartbeats)
}

async fn shut_down(
    app: &App,
    server: Server,
    heartbeats: Heartbeats,
    config: &WorkerConfig,
    reason: Reason,
    leave: Leave,
) -> Result<(), ServeError> {
    app.life.stop();
    let emptied = empty(app, config, reason, leave).await;
    let cut = app.admission.busy();
    app.close();
    heartbeats.leave().await;
    server.finish(LAST_WORDS).await;
    if emptied.is_err() {
        return Err(ServeError::CutOff { cut });
    }
    info!("all requests are finished");
    Ok(())
}

/// Waits until everything is answered. A notice leaves more time than a signal, unless that
/// comes as well.
async fn empty(
    app: &App,
    config: &WorkerConfig,
    reason: Reason,
    mut leave: Leave,
) -> Result<(), Elapsed> {
    let within = |limit: Duration| tokio::time::timeout(limit, app.admission.empty());
    if !reason.is_notice {
        return within(*config.drain.deadline).await;
    }
    tokio::select! {
        emptied = within(*config.metadata.deadline) => emptied,
        why = leave.stop.asked() => {
            info!(why, "stopping sooner");
            within(*config.drain.deadline).await
        }
    }
}
