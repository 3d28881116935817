//! Every metric of the worker: its name, its kind and its help text.

use metrics::{describe_counter, describe_gauge, describe_histogram};

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

pub const FAMILIES: [(&str, Kind, &str); 29] = [
    (
        "tidegate_worker_requests_total",
        Counter,
        "Requests that were authorised, by the route's name",
    ),
    (
        "tidegate_worker_answered_total",
        Counter,
        "Requests that were answered with 200, by the route's name",
    ),
    (
        "tidegate_worker_failed_total",
        Counter,
        "Requests that were not answered with 200, by error",
    ),
    (
        "tidegate_worker_request_seconds",
        Histogram,
        "Seconds from a request's header to its answer, by the route's name",
    ),
    (
        "tidegate_worker_tokenization_seconds",
        Histogram,
        "Seconds to tokenize a request's texts",
    ),
    (
        "tidegate_worker_queue_seconds",
        Histogram,
        "Seconds that a request waited for its first batch",
    ),
    (
        "tidegate_worker_inference_seconds",
        Histogram,
        "Seconds from a request's first batch to its last",
    ),
    (
        "tidegate_worker_input_tokens",
        Histogram,
        "Tokens of a text",
    ),
    (
        "tidegate_worker_queue_length",
        Gauge,
        "Requests that wait for their batch",
    ),
    ("tidegate_worker_batch_texts", Histogram, "Texts in a batch"),
    (
        "tidegate_worker_batch_tokens",
        Histogram,
        "Tokens in a batch, padding not counted",
    ),
    (
        "tidegate_worker_sequences_running",
        Gauge,
        "Answers being generated",
    ),
    (
        "tidegate_worker_sequences_waiting",
        Gauge,
        "Requests whose answer is not begun",
    ),
    (
        "tidegate_worker_cache_used_ratio",
        Gauge,
        "Share of the key-value cache in use, 0 to 1",
    ),
    (
        "tidegate_worker_prompt_tokens_total",
        Counter,
        "Prompt tokens that were computed",
    ),
    (
        "tidegate_worker_answer_tokens_total",
        Counter,
        "Generated tokens",
    ),
    (
        "tidegate_worker_prefix_tokens_total",
        Counter,
        "Prompt tokens, cached from earlier requests or not",
    ),
    (
        "tidegate_worker_prefix_tokens_known_total",
        Counter,
        "Prompt tokens that were cached from earlier requests",
    ),
    (
        "tidegate_worker_step_tokens",
        Histogram,
        "Tokens computed in one step of a decoder",
    ),
    (
        "tidegate_worker_first_token_seconds",
        Histogram,
        "Seconds from a request to the first token of its answer",
    ),
    (
        "tidegate_worker_next_token_seconds",
        Histogram,
        "Seconds from one token of an answer to the next",
    ),
    (
        "tidegate_worker_answer_queue_seconds",
        Histogram,
        "Seconds from a request to its first step",
    ),
    (
        "tidegate_worker_answer_seconds",
        Histogram,
        "Seconds from a request to the end of its answer",
    ),
    (
        "tidegate_worker_answers_total",
        Counter,
        "Answers by reason of their end: stop, or their limit (length)",
    ),
    ("tidegate_slots", Gauge, "Requests accepted at once"),
    ("tidegate_slots_busy", Gauge, "Slots in use"),
    ("tidegate_ready", Gauge, "1 while requests are taken"),
    (
        "tidegate_beats_total",
        Counter,
        "Heartbeats sent, by proxy and result",
    ),
    (
        "tidegate_notice",
        Gauge,
        "1 once the instance's metadata said that the instance is to end",
    ),
];

/// Gives each its help text.
pub fn describe() {
    for (name, kind, help) in FAMILIES {
        match kind {
            Counter => describe_counter!(name, help),
            Gauge => describe_gauge!(name, help),
            Histogram => describe_histogram!(name, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_in_the_documentation() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let page = std::fs::read_to_string(page).expect("it can be read");
        for (name, ..) in FAMILIES {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
