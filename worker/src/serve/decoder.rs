//! Starts a decoder: from its files to the routes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tidegate_generation::{ChatTemplate, Chunk, Limits, Network as _, Tokenizer, Wanted};
use tidegate_kernels::PAGE_TOKENS;
use tracing::info;

use super::ServeError;
use super::fitness::Demands;
use super::load::on_a_thread;
use crate::api::{App, Generating};
use crate::config::{GenerateConfig, WorkerConfig};
use crate::engine::decoder::{Decoder, Model, Network, Plan};
use crate::engine::{Deaths, Engine as _};
use crate::models::ModelError;
use crate::models::decoder::{self, Opened};

/// Loaded and computed with once.
struct Loaded {
    network: Network,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    limits: Limits,
    context: usize,
}

/// Gets the model to where it answers.
pub async fn load(
    app: &Arc<App>,
    path: PathBuf,
    demands: Demands,
    config: &WorkerConfig,
    deaths: &Deaths,
) -> Result<(), ServeError> {
    let begun = Instant::now();
    let generate = config.generate.clone();
    let loaded = on_a_thread(move || load_and_warm_up(&path, &demands, &generate)).await??;
    let Loaded {
        network,
        tokenizer,
        template,
        limits,
        context,
    } = loaded;
    info!(
        seconds = format_args!("{:.1}", begun.elapsed().as_secs_f32()),
        weights_bytes = network.weights_bytes(),
        context,
        cache_tokens = limits.pages * limits.page_tokens,
        chat = template.is_some(),
        "the model is loaded"
    );
    let tokenizer = Arc::new(tokenizer);
    let started = Decoder::start(
        "decoder",
        Model::new(network, tokenizer.clone(), limits),
        deaths,
    );
    let engine = started.map_err(ServeError::Thread)?;
    app.admission
        .set_capacity(engine.capacity(config.slots.get()));
    let answer_tokens = config.generate.answer_tokens.get();
    // Set once, here.
    let _ = app.generating.set(Generating::new(
        tokenizer,
        template,
        engine,
        context,
        answer_tokens,
    ));
    Ok(())
}

/// What a model will hold that is fit to be served; its weights are not read.
pub fn check(path: &Path, demands: &Demands, config: &GenerateConfig) -> Result<Plan, ServeError> {
    let (opened, limits) = open(path, demands, config)?;
    Ok(plan(&opened, &limits))
}

fn open(
    path: &Path,
    demands: &Demands,
    config: &GenerateConfig,
) -> Result<(Opened, Limits), ServeError> {
    let opened = decoder::open(path)?;
    let limits = limits(config);
    demands.check_decoder(&opened, plan(&opened, &limits))?;
    Ok((opened, limits))
}

fn load_and_warm_up(
    path: &Path,
    demands: &Demands,
    config: &GenerateConfig,
) -> Result<Loaded, ServeError> {
    let (opened, limits) = open(path, demands, config)?;
    let cache = limits.pages * limits.page_tokens;
    let context = config.context.map_or(opened.context(), usize::from);
    let context = context.min(opened.context()).min(cache);
    let rows = rows(&limits);
    let weights = opened.load(context)?;
    let failed = |problem: String| ModelError::Invalid {
        file: path.to_owned(),
        problem,
    };
    let network = Network::new(weights, limits.pages, rows, context, demands.threads);
    let mut network = network.map_err(|error| failed(error.to_string()))?;
    let mut logits = vec![0.0; network.vocabulary()];
    let chunk = Chunk {
        tokens: &[0],
        start: 0,
        pages: &[0],
        wanted: Wanted::Last,
    };
    let computed = network.step(&[chunk], &mut logits);
    computed.map_err(|error| failed(error.to_string()))?;
    demands.check_held()?;
    let Opened {
        tokenizer,
        template,
        ..
    } = opened;
    Ok(Loaded {
        network,
        tokenizer,
        template,
        limits,
        context,
    })
}

fn limits(config: &GenerateConfig) -> Limits {
    Limits {
        sequences: config.sequences.get(),
        step_tokens: config.step_tokens.get(),
        pages: config.cache_tokens.get().div_ceil(PAGE_TOKENS),
        page_tokens: PAGE_TOKENS,
    }
}

/// Tokens that are computed together.
fn rows(limits: &Limits) -> usize {
    limits.sequences + limits.step_tokens
}

/// What the model will hold: its weights as they are stored, which is how they are packed.
fn plan(opened: &Opened, limits: &Limits) -> Plan {
    let rows = rows(limits);
    let (width, queries, inner) = opened.widths();
    let row = 4 * (4 * width + 3 * queries + inner);
    let logits = 4 * limits.sequences * opened.vocabulary();
    Plan::new(
        opened.file_bytes,
        opened.kinds(),
        opened.kv_shape(),
        limits,
        (rows * row + logits) as u64,
        opened.vocabulary(),
    )
}
