//! How far batches are: what the batch service tells the scaler for its status page.

use serde::{Deserialize, Serialize};

/// What `GET` [`crate::BATCHES_PATH`] answers. It holds no content of requests and no key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchesReport {
    /// The class in which the proxy queues the lines.
    pub class: String,
    /// Lines of unfinished batches that are neither answered nor at the proxy.
    pub lines_waiting: u64,
    /// Lines at the proxy.
    pub lines_in_flight: u64,
    /// Age of the oldest unfinished batch.
    pub oldest_ms: Option<u64>,
    /// The proxy takes no line at the moment.
    pub held: bool,
    /// The unfinished ones, oldest first, then some that ended, newest first.
    pub batches: Vec<BatchProgress>,
}

/// One batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchProgress {
    pub id: String,
    /// The path that its lines ask for.
    pub endpoint: String,
    /// The model that its first line names, where the service can tell.
    pub model: Option<String>,
    /// The name of its owner's key, where the key has one.
    pub key: Option<String>,
    /// As OpenAI's clients see it.
    pub status: String,
    pub ended: bool,
    pub lines: u32,
    /// Lines with an answer of 2xx.
    pub done: u32,
    /// Lines with any other answer.
    pub failed: u32,
    /// Lines answered per second, lately.
    pub per_s: Option<f64>,
    /// Until all lines have an answer, at that rate.
    pub left_ms: Option<u64>,
    pub age_ms: u64,
}
