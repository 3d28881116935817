//! `tidegate-worker serve`.
//!
//! Start: listen, beat `warming`, load the model, compute once, beat `ready`.
//! Shutdown: refuse what is new and beat `draining`; finish what was accepted, up to a deadline;
//! let the answers out; leave.

mod admission;
mod app;
mod beats;
mod error;
mod fitness;
mod http;
mod inference;
mod input;
mod job;
mod lanes;
mod lifecycle;
mod metrics;
mod numbers;
mod openai;
mod queue;
mod server;
mod stop;
mod tei;
mod texts;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tidegate_config::{TokenError, Tokens};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::info;

use self::admission::Admission;
use self::app::{App, Served};
use self::beats::{Announced, Beats, Identity};
use self::fitness::Demands;
pub use self::fitness::Unfit;
use self::lanes::{Intake, Lane};
use self::lifecycle::Lifecycle;
use self::server::Server;
pub use self::stop::{StandardInput, Stop};
use crate::config::WorkerConfig;
use crate::model::{self, HubError, Model, ModelError, Overlong, Source, Text, Want, Workspace};

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
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error("the model does not load: its loader panicked")]
    LoadPanicked,
    #[error("beats cannot be set up: {0}")]
    Beats(reqwest::Error),
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
    let beats = start_beats(&app, &config, address)?;
    let loaded = tokio::select! {
        loaded = load(&app, &source, Demands::of(&config)) => Some(loaded?),
        why = stop.asked() => {
            info!(why, "stopping before the model is loaded");
            None
        }
    };
    if let Some(lanes) = loaded {
        app.life.warmed_up();
        info!(model = app.name, %address, lanes = lanes.len(), "ready");
        info!(why = stop.asked().await, "stopping");
    }
    shut_down(&app, server, beats, *config.drain.deadline).await
}

fn start_beats(
    app: &Arc<App>,
    config: &WorkerConfig,
    listening: SocketAddr,
) -> Result<Beats, ServeError> {
    let announced = Announced::new(config.advertise, listening);
    let identity = Identity::new(
        config.id.clone(),
        config.instance.clone(),
        announced,
        listening.port(),
    );
    info!(
        worker = identity.worker,
        proxies = config.proxies.len(),
        "beating"
    );
    Beats::start(app, &identity, &config.proxies, &config.beat).map_err(ServeError::Beats)
}

/// Gets the model to where it answers, and returns its lanes.
async fn load(app: &Arc<App>, source: &Source, demands: Demands) -> Result<Vec<Lane>, ServeError> {
    let path = match source {
        Source::Path(path) => path.clone(),
        Source::Hub {
            repository,
            revision,
        } => model::fetch(repository, revision).await?,
    };
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
        .map(|_| model.network.arena())
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
    beats: Beats,
    deadline: Duration,
) -> Result<(), ServeError> {
    app.life.stop();
    let emptied = tokio::time::timeout(deadline, app.admission.empty()).await;
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
