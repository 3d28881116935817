//! What `/metrics` tells, in Prometheus' text format.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `te_request_count` | counter, `method` | requests that came in; `method` is the route's name: `embeddings`, `rerank`, `embed` and so on |
//! | `te_request_success` | counter, `method` | of those, answered with 200 |
//! | `te_request_failure` | counter, `err` | of those, not, by what was wrong: `overloaded`, `validation` and others |
//! | `te_request_duration` | histogram, `method` | seconds from the request's head to its answer |
//! | `te_request_tokenization_duration` | histogram | seconds from text to tokens |
//! | `te_request_queue_duration` | histogram | seconds in the queue |
//! | `te_request_inference_duration` | histogram | seconds from the first batch to the last |
//! | `te_request_input_length` | histogram | tokens of a text |
//! | `te_queue_size` | gauge | requests that wait for their batch |
//! | `te_batch_next_size` | histogram | texts in a batch |
//! | `te_batch_next_tokens` | histogram | tokens in a batch, padding not counted |
//! | `tidegate_slots` | gauge | requests accepted at once |
//! | `tidegate_slots_busy` | gauge | slots taken |
//! | `tidegate_ready` | gauge | 1 while requests are taken |
//! | `tidegate_beats_total` | counter, `proxy`, `result` | heartbeats sent, `ok` or `failed` |
//! | `tidegate_notice` | gauge, `notice` | 1 once the instance's metadata said `interruption`, `lifecycle` or `rebalance` |
//!
//! | `vllm:num_requests_running` | gauge | answers that are computed |
//! | `vllm:num_requests_waiting` | gauge | requests that were not begun |
//! | `vllm:kv_cache_usage_perc` | gauge | share of the cache of keys and values in use, 0 to 1 |
//! | `vllm:prompt_tokens_total` | counter | tokens of prompts that were computed |
//! | `vllm:prefix_cache_hits_total` | counter | tokens of prompts that were known from earlier requests |
//! | `vllm:prefix_cache_queries_total` | counter | tokens of prompts, known or not |
//! | `vllm:generation_tokens_total` | counter | tokens of answers |
//! | `vllm:iteration_tokens_total` | histogram | tokens of one step |
//! | `vllm:time_to_first_token_seconds` | histogram | from the request to the first token of an answer |
//! | `vllm:inter_token_latency_seconds` | histogram | from one token of an answer to the next |
//! | `vllm:request_queue_time_seconds` | histogram | from the request to its first computation |
//! | `vllm:e2e_request_latency_seconds` | histogram | from the request to the end of an answer |
//! | `vllm:request_success_total` | counter, `finished_reason` | answers that ended by themselves (`stop`) or at their limit (`length`) |
//!
//! Names that start with `vllm:` are vLLM's and mean the same. Names that start with `te_` are those of text-embeddings-inference, so that its dashboards work.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tidegate_generation::{Finish, Totals};
use tidegate_protocol::WorkerState;

/// Seconds, from a cached token to a full queue.
const DURATIONS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Texts and tokens.
const SIZES: [f64; 13] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0,
];

/// Installs the recorder of this process; [`keep_up`] is the caller's to run.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&SIZES)?
        .set_buckets_for_metric(Matcher::Suffix("_duration".to_owned()), &DURATIONS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATIONS)?
        .install_recorder()
}

/// How often samples that nobody came for are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Folds samples into their buckets for as long as it is polled. Without it every sample is kept
/// until `/metrics` is asked for, which may be never.
pub async fn keep_up(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// What an instance is told of its end.
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
        gauge!("te_queue_size").set(self.queue as f64);
        gauge!("tidegate_ready").set(u8::from(self.state == WorkerState::Ready));
    }
}

/// What a decoder's cache and sequences are like now.
pub fn generation(running: usize, waiting: usize, cache_use: f64) {
    gauge!("vllm:num_requests_running").set(running as f64);
    gauge!("vllm:num_requests_waiting").set(waiting as f64);
    gauge!("vllm:kv_cache_usage_perc").set(cache_use);
}

pub fn generation_begun(waited: Duration) {
    histogram!("vllm:request_queue_time_seconds").record(waited);
}

pub fn first_token(after: Duration) {
    histogram!("vllm:time_to_first_token_seconds").record(after);
}

pub fn next_token(after: Duration) {
    histogram!("vllm:inter_token_latency_seconds").record(after);
}

/// An answer ended.
pub fn answered(finish: &Finish, after: Duration) {
    let reason = match finish {
        Finish::Length => "length",
        _ => "stop",
    };
    counter!("vllm:request_success_total", "finished_reason" => reason).increment(1);
    histogram!("vllm:e2e_request_latency_seconds").record(after);
}

/// A step was computed, between these totals.
pub fn generated(before: Totals, after: Totals) {
    let prompt = after.prompt_tokens - before.prompt_tokens;
    let answer = after.answer_tokens - before.answer_tokens;
    counter!("vllm:prompt_tokens_total").increment(prompt);
    counter!("vllm:generation_tokens_total").increment(answer);
    histogram!("vllm:iteration_tokens_total").record((prompt + answer) as f64);
}

/// A prompt was taken in, of which `known` tokens were there already.
pub fn prompt_known(tokens: usize, known: usize) {
    counter!("vllm:prefix_cache_queries_total").increment(tokens as u64);
    counter!("vllm:prefix_cache_hits_total").increment(known as u64);
}

pub fn request_begun(method: &'static str) {
    counter!("te_request_count", "method" => method).increment(1);
}

pub fn request_answered(method: &'static str, after: Duration) {
    counter!("te_request_success", "method" => method).increment(1);
    histogram!("te_request_duration", "method" => method).record(after);
}

pub fn request_failed(why: &'static str) {
    counter!("te_request_failure", "err" => why).increment(1);
}

pub fn tokenized(lengths: impl Iterator<Item = usize>, took: Duration) {
    histogram!("te_request_tokenization_duration").record(took);
    let length = histogram!("te_request_input_length");
    lengths.for_each(|tokens| length.record(tokens as f64));
}

pub fn computed(waited: Duration, computed: Duration) {
    histogram!("te_request_queue_duration").record(waited);
    histogram!("te_request_inference_duration").record(computed);
}

pub fn batch(texts: usize, tokens: usize) {
    histogram!("te_batch_next_size").record(texts as f64);
    histogram!("te_batch_next_tokens").record(tokens as f64);
}
