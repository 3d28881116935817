//! `tidegate-worker serve`.
//!
//! Start: listen, heartbeat `warming`, load the model, compute once, heartbeat `ready`.
//! Shutdown, by a signal or because the instance is to end: refuse what is new and heartbeat `draining`;
//! finish what was accepted, up to a deadline; let the answers out; leave.

mod admission;
mod app;
mod error;
mod fitness;
mod heartbeats;
mod http;
mod inference;
mod input;
mod job;
mod lanes;
mod lifecycle;
mod metadata;
mod metrics;
mod notices;
mod numbers;
mod openai;
mod queue;
mod server;
mod stop;
mod tei;
mod texts;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tidegate_config::{TokenError, Tokens};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tracing::info;

use self::admission::Admission;
use self::app::{App, Served};
use self::fitness::Demands;
pub use self::fitness::Unfit;
use self::heartbeats::{Announced, Heartbeats, Identity};
use self::lanes::{Intake, Lane};
use self::lifecycle::Lifecycle;
use self::metadata::{Metadata, MetadataError};
use self::notices::Notices;
use self::server::Server;
pub use self::stop::{StandardInput, Stop};
use crate::config::{S3Config, WorkerConfig};
use crate::model::{
    self, HubError, Model, ModelError, Overlong, S3Error, Source, Text, Want, Workspace,
};

/// Time for the last answers to be written once all are computed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Computed once by each lane before it takes requests.
const WARM_UP: &str = "The first computation is slower than those after it.";

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
    #[error("the instance's metadata ({url}) do not tell its id: {error}")]
    Metadata { url: String, error: MetadataError },
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the model does not load: its loader panicked")]
    LoadPanicked,
    #[error("beats cannot be set up: {0}")]
    Heartbeats(reqwest::Error),
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
        created: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        limits: config.limits.clone(),
        tokens: config.token_file.as_deref().map(Tokens::read).transpose()?,
        admission: Admission::new(config.slots.get()),
        intake: Intake::new(&config.batch),
        life: Lifecycle::new(),
        metrics: metrics::install()?,
        served: OnceLock::new(),
    });
    // Ends with this function.
    let mut upkeep = JoinSet::new();
    upkeep.spawn(metrics::keep_up(app.metrics.clone()));
    let started = Server::start(config.listen, http::routes(app.clone()), &config.limits).await;
    let (server, address) = started.map_err(|error| ServeError::Listen {
        address: config.listen,
        error,
    })?;
    let (instance, metadata) = tokio::select! {
        learned = learn_instance(&config) => learned?,
        why = stop.asked() => {
            info!(why, "stopping before anybody knows of this worker");
            return Ok(());
        }
    };
    let notices = Notices::start(metadata, &config.metadata);
    let mut leave = Leave { stop, notices };
    let beats = start_beats(&app, &config, instance, address)?;
    let told = tokio::select! {
        loaded = load(&app, &source, &config) => {
            let lanes = loaded?.len();
            app.life.warmed_up();
            info!(model = app.name, %address, lanes, "ready");
            None
        }
        reason = leave.asked() => Some(reason),
    };
    let reason = match told {
        Some(reason) => reason,
        None => leave.asked().await,
    };
    let state = app.life.state();
    info!(why = reason.why, ?state, "stopping");
    shut_down(&app, server, beats, &config, reason, leave).await
}

/// Everything that may tell the worker to leave.
struct Leave {
    stop: Stop,
    notices: Notices,
}

/// Why the worker leaves.
struct Reason {
    why: String,
    /// The instance is to end; nobody has told the process to.
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

fn start_beats(
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
    info!(
        worker = identity.worker,
        proxies = config.proxies.len(),
        "beating"
    );
    Heartbeats::start(app, &identity, &config.proxies, &config.beat).map_err(ServeError::Heartbeats)
}

/// Gets the model to where it answers, and returns its lanes.
async fn load(
    app: &Arc<App>,
    source: &Source,
    config: &WorkerConfig,
) -> Result<Vec<Lane>, ServeError> {
    let path = fetch(source, &config.s3).await?;
    let demands = Demands::of(config);
    let begun = Instant::now();
    let (model, workspaces) = on_a_thread(move || load_and_warm_up(&path, &demands)).await??;
    info!(
        seconds = begun.elapsed().as_secs_f32(),
        task = model.card.task.name(),
        precision = model.card.precision.name(),
        dimensions = model.network.dimensions(),
        max_tokens = model.tokenizer.limit(),
        weights_bytes = model.network.weights_bytes(),
        "the model is loaded"
    );
    let Model {
        tokenizer,
        network,
        card,
    } = model;
    let width = network.width();
    let started = lanes::start(&app.intake, network, workspaces).map_err(ServeError::Thread)?;
    // Set once, here.
    let _ = app.served.set(Served {
        tokenizer,
        card,
        width,
    });
    Ok(started)
}

/// Where the model is on this machine, once it is there.
async fn fetch(source: &Source, s3: &S3Config) -> Result<PathBuf, ServeError> {
    let begun = Instant::now();
    let path = match source {
        Source::Path(path) => return Ok(path.clone()),
        Source::Hub {
            repository,
            revision,
        } => model::fetch(repository, revision).await?,
        Source::S3(address) => model::fetch_from_s3(address, s3).await.map_err(Box::new)?,
    };
    info!(
        seconds = begun.elapsed().as_secs_f32(),
        "the model is on this machine"
    );
    Ok(path)
}

/// Loads the model, if it is fit to be served, and computes with each core's workspace once.
fn load_and_warm_up(path: &Path, demands: &Demands) -> Result<(Model, Vec<Workspace>), ServeError> {
    let opened = model::open(path)?;
    demands.check(&opened)?;
    let model = opened.load()?;
    let text = model.tokenizer.encode(Text::One(WARM_UP), Overlong::CutEnd);
    let text = text.map_err(|error| ModelError::Invalid {
        file: path.to_owned(),
        problem: error.to_string(),
    })?;
    let mut workspaces: Vec<_> = (0..demands.threads)
        .map(|_| model.network.workspace())
        .collect();
    for workspace in workspaces.chunks_mut(1) {
        model.network.compute(&[&text], Want::Result, workspace)?;
    }
    demands.check_held()?;
    Ok((model, workspaces))
}

/// Runs what blocks for long on a thread that nobody waits for if the process has to end.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    let (sender, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name("load".to_owned());
    let spawned = thread.spawn(move || {
        // Nobody takes it when the process is about to end.
        let _ = sender.send(work());
    });
    spawned.map_err(ServeError::Thread)?;
    done.await.map_err(|_| ServeError::LoadPanicked)
}

async fn shut_down(
    app: &App,
    server: Server,
    beats: Heartbeats,
    config: &WorkerConfig,
    reason: Reason,
    leave: Leave,
) -> Result<(), ServeError> {
    app.life.stop();
    let emptied = empty(app, config, reason, leave).await;
    let cut = app.admission.busy();
    app.intake.close();
    beats.leave().await;
    server.finish(LAST_WORDS).await;
    if emptied.is_err() {
        return Err(ServeError::CutOff { cut });
    }
    info!("nothing is left to do");
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
