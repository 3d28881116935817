//! From the configured source to a model that answers: downloaded, checked, loaded, warmed up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::info;

use super::ServeError;
use super::decoder;
use super::fitness::Demands;
use super::seq2seq;
use crate::api::{App, Served};
use crate::config::{S3Config, WorkerConfig};
use crate::engine::encoder::Encoder;
use crate::engine::{Deaths, Engine as _};
use crate::memory::Shares;
use crate::models::{self, Model, ModelError, Overlong, Source, Text, Want, Workspace};

/// Computed once by each compute thread before it takes requests.
const WARM_UP: &str = "The first computation is slower than those after it.";

/// Gets the model to where it answers.
pub async fn load(
    app: &Arc<App>,
    source: &Source,
    config: &WorkerConfig,
    deaths: &Deaths,
) -> Result<(), ServeError> {
    let path = fetch(source, &config.s3).await?;
    let demands = Demands::of(config);
    if models::decoder::is_decoder(&path) {
        return decoder::load(app, path, demands, config, deaths).await;
    }
    if models::seq2seq::is_seq2seq(&path) {
        return seq2seq::load(app, path, demands, config, deaths).await;
    }
    let begun = Instant::now();
    let loaded = on_a_thread(move || load_and_warm_up(&path, &demands)).await??;
    let Warm {
        model,
        workspaces,
        shares,
    } = loaded;
    if let Some(shares) = shares {
        app.bodies.shrink(shares.bodies);
        app.results.shrink(shares.results);
    }
    info!(
        seconds = format_args!("{:.1}", begun.elapsed().as_secs_f32()),
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
    let (dimensions, width) = (network.dimensions(), network.width());
    let started = Encoder::start(network, workspaces, &config.batch, deaths);
    let engine = started.map_err(ServeError::Thread)?;
    let capacity = engine.capacity(config.slots.get());
    app.admission.set_capacity(capacity);
    // Set once, here.
    let _ = app.served.set(Served {
        tokenizer,
        card,
        dimensions,
        width,
        engine,
    });
    Ok(())
}

/// Where the model is on this machine, once it is there.
pub async fn fetch(source: &Source, s3: &S3Config) -> Result<PathBuf, ServeError> {
    let begun = Instant::now();
    let path = match source {
        Source::Path(path) => return Ok(path.clone()),
        Source::Hub {
            repository,
            revision,
        } => models::fetch(repository, revision).await?,
        Source::S3(address) => models::fetch_from_s3(address, s3).await.map_err(Box::new)?,
    };
    info!(
        seconds = format_args!("{:.1}", begun.elapsed().as_secs_f32()),
        "the model is on this machine"
    );
    Ok(path)
}

/// A model that was computed with once.
struct Warm {
    model: Model,
    workspaces: Vec<Workspace>,
    /// What requests may hold, where memory is limited.
    shares: Option<Shares>,
}

/// Loads the model, if it is fit to be served, and computes with each core's workspace once.
fn load_and_warm_up(path: &Path, demands: &Demands) -> Result<Warm, ServeError> {
    let opened = models::open(path)?;
    let shares = demands.check(&opened)?;
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
        let rows = model.network.compute(&[&text], Want::Result, workspace)?;
        if !models::are_finite(&rows) {
            return Err(ServeError::Model(ModelError::Invalid {
                file: path.to_owned(),
                problem: models::NOT_FINITE.to_owned(),
            }));
        }
    }
    demands.check_held()?;
    Ok(Warm {
        model,
        workspaces,
        shares,
    })
}

/// Runs what blocks for long on a thread that nobody waits for if the process has to end.
pub(super) async fn on_a_thread<T: Send + 'static>(
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
