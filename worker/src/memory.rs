//! The memory that a model needs: estimated before it is loaded, and measured after.

use std::fmt;

use serde::Deserialize;
use tidegate_kernels::Workspace;

use crate::models::{Opened, Precision, reading_bytes};
use crate::units::Bytes;

/// What a process holds before it has a model: code, runtime, threads, buffers. Measured: 12 MB.
const PROCESS: u64 = 14_000_000;

/// A parsed tokenizer in bytes for each byte of tokenizer.json, by its model; measured on
/// vocabularies of 30,000 (WordPiece), 50,000 (BPE) and 250,000 (Unigram) entries.
fn tokenizer_factor(model: &str) -> u64 {
    match model {
        "WordPiece" => 24,
        "BPE" => 18,
        _ => 35,
    }
}

/// What a request is served with at least, bodies and results together.
const REQUESTS: u64 = 4_000_000;

/// What a body holds at most for each of its bytes: itself, the texts that are read of it, one of
/// them with its prompt, and their places in a list.
const BODY_HELD: u64 = 6;

/// int8 weights in bytes for each byte of f32, scales and what stays in f32 included.
const INT8_SHARE: f64 = 1.0 / 3.9;

/// What a model will hold once it is loaded, and with how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    precision: Precision,
    threads: u64,
    weights: u64,
    /// Of each thread.
    workspace: u64,
    tokenizer: u64,
    /// Of each thread, while it reads a long text.
    reading: u64,
    /// The largest tensor, twice: as it is read and as it is kept. It is a table, and tables are
    /// read first.
    loading: u64,
}

/// Bytes that requests may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub bodies: usize,
    pub results: usize,
}

impl Plan {
    /// Reads sizes alone: nothing is loaded.
    pub(crate) fn of(opened: &Opened, threads: usize) -> Plan {
        let config = &opened.architecture.config;
        let sizes = opened.weight_sizes();
        let ropes = opened.architecture.ropes_bytes(opened.max_tokens);
        let workspace = Workspace::bytes_for(
            config.hidden_size,
            opened.architecture.head_dim(),
            config.intermediate_size,
            opened.max_tokens,
        );
        Plan {
            precision: match opened.package {
                Some(_) => Precision::Int8,
                None => Precision::Float32,
            },
            threads: threads as u64,
            weights: sizes.iter().sum::<u64>() + ropes as u64,
            workspace: workspace as u64,
            tokenizer: tokenizer(opened),
            reading: reading_bytes(opened.max_tokens),
            loading: 2 * sizes.into_iter().max().unwrap_or(0),
        }
    }

    /// All of it, at the worst moment.
    pub fn total(&self) -> Bytes {
        let serving = self.threads * (self.workspace + self.reading) + REQUESTS;
        let loaded = self.weights + serving;
        Bytes(PROCESS + self.tokenizer + loaded.max(self.loading))
    }

    /// How `limit` is shared out to requests, where it is more than the model needs.
    pub fn shares(&self, limit: Bytes) -> Shares {
        let left = (limit.0 + REQUESTS).saturating_sub(self.total().0);
        Shares {
            bodies: (left / 2 / BODY_HELD) as usize,
            results: (left / 2) as usize,
        }
    }

    /// What could be done to fit into `limit`, the least change first.
    pub fn alternatives(&self, limit: Bytes) -> String {
        let fewer = Plan {
            threads: 1,
            ..*self
        };
        let scaled = |bytes: u64| (bytes as f64 * INT8_SHARE) as u64;
        let int8 = match self.precision {
            Precision::Int8 => *self,
            Precision::Float32 => Plan {
                precision: Precision::Int8,
                weights: scaled(self.weights),
                loading: scaled(self.loading),
                ..*self
            },
        };
        let both = Plan { threads: 1, ..int8 };
        let choices = [
            (fewer, "one thread (--threads 1)"),
            (
                int8,
                "the model quantized to int8 (`tidegate-worker quantize`)",
            ),
            (both, "the model quantized to int8, on one thread"),
        ];
        let fits = |plan: &Plan| plan != self && plan.total() <= limit;
        let fitting: Vec<String> = choices
            .iter()
            .filter(|(plan, _)| fits(plan))
            .map(|(plan, what)| format!("{what}: about {}", plan.total()))
            .collect();
        match fitting.is_empty() {
            false => format!("what would fit: {}", fitting.join("; ")),
            true => format!(
                "nothing of this model would fit; in int8 on one thread it needs about {}: choose a smaller model",
                both.total()
            ),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "about {}: weights {} in {}, working memory {} x {}, tokenizer {}, requests {}, process {}",
            self.total(),
            Bytes(self.weights),
            self.precision.name(),
            self.threads,
            Bytes(self.workspace + self.reading),
            Bytes(self.tokenizer),
            Bytes(REQUESTS),
            Bytes(PROCESS)
        )
    }
}

/// What the tokenizer will hold.
fn tokenizer(opened: &Opened) -> u64 {
    #[derive(Deserialize)]
    struct Described {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        #[serde(rename = "type", default)]
        kind: String,
    }
    let json = opened.tokenizer_json();
    // What cannot be read is refused when it is loaded.
    let described = serde_json::from_slice(&json).ok();
    let kind = described.map_or(String::new(), |described: Described| described.model.kind);
    json.len() as u64 * tokenizer_factor(&kind)
}

/// Bytes of memory that this process holds; Linux only.
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
