//! The memory that a sequence-to-sequence model will need, computed before it is loaded.

use std::fmt;

use tidegate_kernels::{KvCache, KvShape, KvType};
use tidegate_seq2seq::Limits;

use crate::units::Bytes;

/// What a process holds before it has a model, as memory.rs measured it.
const PROCESS: u64 = 14_000_000;

/// A parsed Unigram tokenizer in bytes for each byte of tokenizer.json, as memory.rs measured it.
const TOKENIZER: u64 = 35;

/// The least cache that is of use, in tokens.
const LEAST_TOKENS: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    weights: u64,
    cache: u64,
    cache_tokens: u64,
    logits: u64,
    tokenizer: u64,
    quantized: bool,
}

/// What is known of a model before it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub weights_bytes: u64,
    pub tokenizer_json_bytes: u64,
    pub vocabulary: usize,
    /// What the decoder keeps of a token.
    pub kv: KvShape,
    pub quantized: bool,
}

/// Keys and values of a quantized model are kept in 16 bits.
pub fn kv_type(quantized: bool) -> KvType {
    match quantized {
        true => KvType::F16,
        false => KvType::F32,
    }
}

impl Plan {
    pub fn new(sizes: &Sizes, limits: &Limits) -> Plan {
        let pages = limits.source_pages + limits.target_pages;
        let cache = KvCache::bytes_for(sizes.kv, pages, kv_type(sizes.quantized));
        Plan {
            weights: sizes.weights_bytes,
            cache: cache as u64,
            cache_tokens: (pages * limits.page_tokens) as u64,
            logits: (4 * limits.targets * sizes.vocabulary) as u64,
            tokenizer: TOKENIZER * sizes.tokenizer_json_bytes,
            quantized: sizes.quantized,
        }
    }

    pub fn total(&self) -> Bytes {
        Bytes(PROCESS + self.weights + self.cache + self.logits + self.tokenizer)
    }

    /// What could be done to fit into `limit`.
    pub fn alternatives(&self, limit: Bytes) -> String {
        let without = Plan { cache: 0, ..*self }.total();
        let each = self.cache.checked_div(self.cache_tokens).unwrap_or(0);
        let room = limit.0.saturating_sub(without.0);
        let tokens = room.checked_div(each).unwrap_or(0);
        let mut choices = Vec::new();
        if tokens >= LEAST_TOKENS {
            choices.push(format!("[generate] cache_tokens = {tokens}"));
        }
        if !self.quantized {
            choices.push("the model quantized to int8 (`tidegate-worker quantize`)".to_owned());
        }
        match choices.is_empty() {
            false => format!("what would help: {}", choices.join("; ")),
            true => "choose a smaller model".to_owned(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "about {}: weights {}, keys and values of {} tokens {}, logits {}, tokenizer {}, process {}",
            self.total(),
            Bytes(self.weights),
            self.cache_tokens,
            Bytes(self.cache),
            Bytes(self.logits),
            Bytes(self.tokenizer),
            Bytes(PROCESS)
        )
    }
}
