//! The same metrics once more under the names of another server, so that dashboards which were
//! made for that server work. Off unless the config asks for it.
//!
//! The names are added to the text that is served; nothing is counted twice.

use serde::Deserialize;

/// Whose names are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aliases {
    TextEmbeddingsInference,
    Vllm,
}

/// A name of ours and the other server's for the same.
type Pair = (&'static str, &'static str);

const TEXT_EMBEDDINGS_INFERENCE: [Pair; 11] = [
    ("tidegate_worker_requests_total", "te_request_count"),
    ("tidegate_worker_answered_total", "te_request_success"),
    ("tidegate_worker_failed_total", "te_request_failure"),
    ("tidegate_worker_request_seconds", "te_request_duration"),
    (
        "tidegate_worker_tokenization_seconds",
        "te_request_tokenization_duration",
    ),
    ("tidegate_worker_queue_seconds", "te_request_queue_duration"),
    (
        "tidegate_worker_inference_seconds",
        "te_request_inference_duration",
    ),
    ("tidegate_worker_input_tokens", "te_request_input_length"),
    ("tidegate_worker_queue_length", "te_queue_size"),
    ("tidegate_worker_batch_texts", "te_batch_next_size"),
    ("tidegate_worker_batch_tokens", "te_batch_next_tokens"),
];

const VLLM: [Pair; 13] = [
    (
        "tidegate_worker_sequences_running",
        "vllm:num_requests_running",
    ),
    (
        "tidegate_worker_sequences_waiting",
        "vllm:num_requests_waiting",
    ),
    (
        "tidegate_worker_cache_used_ratio",
        "vllm:kv_cache_usage_perc",
    ),
    (
        "tidegate_worker_prompt_tokens_total",
        "vllm:prompt_tokens_total",
    ),
    (
        "tidegate_worker_answer_tokens_total",
        "vllm:generation_tokens_total",
    ),
    (
        "tidegate_worker_prefix_tokens_total",
        "vllm:prefix_cache_queries_total",
    ),
    (
        "tidegate_worker_prefix_tokens_known_total",
        "vllm:prefix_cache_hits_total",
    ),
    ("tidegate_worker_step_tokens", "vllm:iteration_tokens_total"),
    (
        "tidegate_worker_first_token_seconds",
        "vllm:time_to_first_token_seconds",
    ),
    (
        "tidegate_worker_next_token_seconds",
        "vllm:inter_token_latency_seconds",
    ),
    (
        "tidegate_worker_answer_queue_seconds",
        "vllm:request_queue_time_seconds",
    ),
    (
        "tidegate_worker_answer_seconds",
        "vllm:e2e_request_latency_seconds",
    ),
    (
        "tidegate_worker_answers_total",
        "vllm:request_success_total",
    ),
];

impl Aliases {
    fn pairs(self) -> &'static [Pair] {
        match self {
            Aliases::TextEmbeddingsInference => &TEXT_EMBEDDINGS_INFERENCE,
            Aliases::Vllm => &VLLM,
        }
    }

    /// What `text`, in Prometheus' text format, says of these metrics, under their other names.
    pub fn translate(self, text: &str) -> String {
        let mut added = String::new();
        for (ours, theirs) in self.pairs() {
            for line in text.lines() {
                if let Some(renamed) = renamed(line, ours, theirs) {
                    added.push_str(&renamed);
                    added.push('\n');
                }
            }
        }
        added
    }
}

/// The line with `theirs` for `ours`, if it belongs to the metric of that name.
fn renamed(line: &str, ours: &str, theirs: &str) -> Option<String> {
    for comment in ["# HELP ", "# TYPE "] {
        if let Some(rest) = line.strip_prefix(comment) {
            let rest = rest.strip_prefix(ours)?;
            return (rest.starts_with(' ')).then(|| format!("{comment}{theirs}{rest}"));
        }
    }
    let rest = line.strip_prefix(ours)?;
    let end = rest.find(['{', ' '])?;
    let is_part = ["", "_bucket", "_sum", "_count"].contains(&&rest[..end]);
    is_part.then(|| format!("{theirs}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::names::FAMILIES;
    use super::*;

    const TEXT: &str = "\
# HELP tidegate_worker_requests_total Requests
# TYPE tidegate_worker_requests_total counter
tidegate_worker_requests_total{method=\"embed\"} 2

# TYPE tidegate_worker_request_seconds histogram
tidegate_worker_request_seconds_bucket{method=\"embed\",le=\"+Inf\"} 2
tidegate_worker_request_seconds_sum{method=\"embed\"} 0.5
tidegate_worker_request_seconds_count{method=\"embed\"} 2

# TYPE tidegate_worker_queue_length gauge
tidegate_worker_queue_length 3
";

    #[test]
    fn each_series_gets_its_other_name_and_nothing_else_does() {
        let added = Aliases::TextEmbeddingsInference.translate(TEXT);
        assert_eq!(
            added,
            "\
# HELP te_request_count Requests
# TYPE te_request_count counter
te_request_count{method=\"embed\"} 2
# TYPE te_request_duration histogram
te_request_duration_bucket{method=\"embed\",le=\"+Inf\"} 2
te_request_duration_sum{method=\"embed\"} 0.5
te_request_duration_count{method=\"embed\"} 2
# TYPE te_queue_size gauge
te_queue_size 3
"
        );
        assert_eq!(Aliases::Vllm.translate(TEXT), "");
    }

    #[test]
    fn every_alias_is_of_a_metric_that_there_is() {
        for aliases in [Aliases::TextEmbeddingsInference, Aliases::Vllm] {
            for (ours, _) in aliases.pairs() {
                assert!(FAMILIES.iter().any(|(name, ..)| name == ours), "{ours}");
            }
        }
    }
}
