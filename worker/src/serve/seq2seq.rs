//! Starts a sequence-to-sequence model: from its files to the routes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tidegate_seq2seq::{Limits, Network as _, Source, Target, Words};
use tracing::info;

use super::ServeError;
use super::fitness::Demands;
use super::load::on_a_thread;
use crate::api::{App, Writing};
use crate::config::{GenerateConfig, WorkerConfig};
use crate::engine::seq2seq::{Model, Network, NetworkError, PAGE, Plan, Seq2Seq, Sizes};
use crate::engine::{Deaths, Engine as _};
use crate::models::seq2seq::{self, Opened, Prompts};
use crate::models::{ModelError, TextTokenizer};

/// Tokens of the longest source and the longest text where the configuration does not say: positions
/// are relative, so the network has no limit of its own.
const CONTEXT: usize = 1024;

/// Hypotheses at once for each text that is computed together with others.
const HYPOTHESES: usize = 4;

/// Loaded and computed with once.
struct Loaded {
    network: Network,
    tokenizer: TextTokenizer,
    prompts: Prompts,
    words: Words,
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
        prompts,
        words,
        limits,
        context,
    } = loaded;
    info!(
        seconds = format_args!("{:.1}", begun.elapsed().as_secs_f32()),
        weights_bytes = network.weights_bytes(),
        cache_bytes = network.cache_bytes(),
        context,
        "the model is loaded"
    );
    let ends = words.ends.clone();
    let started = Seq2Seq::start("seq2seq", Model::new(network, words, limits), deaths);
    let engine = started.map_err(ServeError::Thread)?;
    app.admission
        .set_capacity(engine.capacity(config.slots.get()));
    // Set once, here.
    let _ = app.writing.set(Writing {
        tokenizer,
        prompts,
        ends,
        max_target: context,
        limits,
        answer_tokens: config.generate.answer_tokens.get().min(context),
        engine,
    });
    Ok(())
}

/// What a model will hold that is fit to be served; its weights are not read.
pub fn check(path: &Path, demands: &Demands, config: &GenerateConfig) -> Result<Plan, ServeError> {
    let opened = seq2seq::open(path)?;
    let (limits, context) = limits(config);
    demands.check_seq2seq(opened.package.as_ref(), plan(&opened, &limits))?;
    opened.tokenizer(context)?;
    Ok(plan(&opened, &limits))
}

fn plan(opened: &Opened, limits: &Limits) -> Plan {
    let sizes = Sizes {
        weights_bytes: opened.weights_bytes(),
        tokenizer_json_bytes: opened.tokenizer_json_bytes() as u64,
        vocabulary: opened.vocabulary(),
        kv: opened.kv_shape(),
        quantized: opened.package.is_some(),
    };
    Plan::new(&sizes, limits)
}

fn load_and_warm_up(
    path: &Path,
    demands: &Demands,
    config: &GenerateConfig,
) -> Result<Loaded, ServeError> {
    let opened = seq2seq::open(path)?;
    let (limits, context) = limits(config);
    let (marks, quantized) = (opened.marks(), opened.package.is_some());
    demands.check_seq2seq(opened.package.as_ref(), plan(&opened, &limits))?;
    let loaded = opened.load(context, context)?;
    let words = Words {
        start: marks.start,
        ends: marks.ends,
    };
    let failed = |problem: String| ModelError::Invalid {
        file: path.to_owned(),
        problem,
    };
    let network = Network::new(loaded.network, quantized, &limits, demands.threads);
    let mut network = network.map_err(|error| failed(error.to_string()))?;
    warm_up(&mut network, words.start).map_err(|error| failed(error.to_string()))?;
    demands.check_held()?;
    Ok(Loaded {
        network,
        tokenizer: loaded.tokenizer,
        prompts: loaded.prompts,
        words,
        limits,
        context,
    })
}

/// Reads one token and writes one.
fn warm_up(network: &mut Network, start: u32) -> Result<(), NetworkError> {
    let source = Source {
        tokens: &[start],
        pages: &[0],
    };
    network.encode(&[source])?;
    let target = Target {
        token: start,
        position: 0,
        pages: &[0],
        source,
    };
    let mut logits = vec![0.0; network.vocabulary()];
    network.step(&[target], &mut logits)
}

/// Sources and targets have half of the cache each; the longest text fits into it.
fn limits(config: &GenerateConfig) -> (Limits, usize) {
    let context = config.context.map_or(CONTEXT, usize::from);
    let pages = config.cache_tokens.get().div_ceil(2 * PAGE);
    let context = context.min(pages * PAGE);
    let limits = Limits {
        targets: HYPOTHESES * config.sequences.get(),
        source_tokens: context,
        source_pages: pages,
        target_pages: pages,
        page_tokens: PAGE,
    };
    (limits, context)
}
