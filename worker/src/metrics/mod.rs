//! The worker's `/metrics` in Prometheus' text format: [`names`] lists them.
//!
//! It counts under its own names. The config may add those of text-embeddings-inference and of vLLM:
//! [`aliases`].

mod aliases;
mod names;

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tidegate_protocol::WorkerState;

pub use self::aliases::Aliases;

/// Seconds, from a cached token to a full queue.
const DURATIONS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Texts and tokens.
const SIZES: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0,
];

/// What has been counted so far, as text. Clones tell the same.
#[derive(Clone)]
pub struct Exposition {
    handle: PrometheusHandle,
    aliases: Vec<Aliases>,
}

/// Installs the recorder of this process; [`keep_up`] is the caller's to run.
pub fn install(aliases: &[Aliases]) -> Result<Exposition, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SIZES)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATIONS)?
        .install_recorder()?;
    names::describe();
    Ok(Exposition {
        handle,
        aliases: aliases.to_vec(),
    })
}

impl Exposition {
    pub fn render(&self) -> String {
        let text = self.handle.render();
        let added: String = (self.aliases.iter())
            .map(|aliases| aliases.translate(&text))
            .collect();
        text + &added
    }
}

/// How often samples that nobody came for are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Folds samples into their buckets for as long as it is polled. Without it every sample is kept
/// until `/metrics` is asked for, which may be never.
pub async fn keep_up(exposition: Exposition) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        exposition.handle.run_upkeep();
    }
}

/// What the metadata say of an instance's end.
#[derive(Clone, Copy, Debug)]
pub enum Notice {
    Interruption,
    Lifecycle,
    Rebalance,
}

/// A notice was heard.
pub fn notice(notice: Notice) {
    let notice = match notice {
        Notice::Interruption => "interruption",
        Notice::Lifecycle => "lifecycle",
        Notice::Rebalance => "rebalance",
    };
    gauge!("tidegate_notice", "notice" => notice).set(1.0);
}

/// Values that are looked up when they are asked for.
pub struct Gauges {
    pub slots: u32,
    pub busy: u32,
    pub queue: usize,
    pub state: WorkerState,
}

impl Gauges {
    pub fn set(&self) {
        gauge!("tidegate_slots").set(self.slots);
        gauge!("tidegate_slots_busy").set(self.busy);
        gauge!("tidegate_worker_queue_length").set(self.queue as f64);
        gauge!("tidegate_ready").set(u8::from(self.state == WorkerState::Ready));
    }
}

/// What a decoder's cache and sequences are like now.
pub fn generation(running: usize, waiting: usize, cache_use: f64) {
    gauge!("tidegate_worker_sequences_running").set(running as f64);
    gauge!("tidegate_worker_sequences_waiting").set(waiting as f64);
    gauge!("tidegate_worker_cache_used_ratio").set(cache_use);
}

pub fn generation_begun(waited: Duration) {
    histogram!("tidegate_worker_answer_queue_seconds").record(waited);
}

pub fn first_token(after: Duration) {
    histogram!("tidegate_worker_first_token_seconds").record(after);
}

pub fn next_token(after: Duration) {
    histogram!("tidegate_worker_next_token_seconds").record(after);
}

/// An answer ended.
pub fn answered(reason: &'static str, after: Duration) {
    counter!("tidegate_worker_answers_total", "finished_reason" => reason).increment(1);
    histogram!("tidegate_worker_answer_seconds").record(after);
}

/// A step computed so many tokens of prompts and of answers.
pub fn generated(prompt: u64, answer: u64) {
    counter!("tidegate_worker_prompt_tokens_total").increment(prompt);
    counter!("tidegate_worker_answer_tokens_total").increment(answer);
    histogram!("tidegate_worker_step_tokens").record((prompt + answer) as f64);
}

/// A prompt was taken in, of which `known` tokens were there already.
pub fn prompt_known(tokens: usize, known: usize) {
    counter!("tidegate_worker_prefix_tokens_total").increment(tokens as u64);
    counter!("tidegate_worker_prefix_tokens_known_total").increment(known as u64);
}

pub fn request_begun(method: &'static str) {
    counter!("tidegate_worker_requests_total", "method" => method).increment(1);
}

pub fn request_answered(method: &'static str, after: Duration) {
    counter!("tidegate_worker_answered_total", "method" => method).increment(1);
    histogram!("tidegate_worker_request_seconds", "method" => method).record(after);
}

pub fn request_failed(why: &'static str) {
    counter!("tidegate_worker_failed_total", "err" => why).increment(1);
}

pub fn tokenized(lengths: impl Iterator<Item = usize>, took: Duration) {
    histogram!("tidegate_worker_tokenization_seconds").record(took);
    let length = histogram!("tidegate_worker_input_tokens");
    lengths.for_each(|tokens| length.record(tokens as f64));
}

pub fn computed(waited: Duration, computed: Duration) {
    histogram!("tidegate_worker_queue_seconds").record(waited);
    histogram!("tidegate_worker_inference_seconds").record(computed);
}

pub fn batch(texts: usize, tokens: usize) {
    histogram!("tidegate_worker_batch_texts").record(texts as f64);
    histogram!("tidegate_worker_batch_tokens").record(tokens as f64);
}
