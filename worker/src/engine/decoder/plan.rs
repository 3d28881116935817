//! The memory that a decoder will need, computed before it is loaded.

use std::fmt;

use tidegate_generation::Limits;
use tidegate_kernels::{BlockType, KvCache, KvShape, KvType};

use crate::units::Bytes;

/// What a process holds before it has a model, as memory.rs measured it.
const PROCESS: u64 = 14_000_000;

/// A tokenizer with its tables, for each token of the vocabulary; measured on 49,152.
const TOKEN: u64 = 700;

/// The least cache that is of use.
const LEAST_TOKENS: u64 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub weights: u64,
    pub cache: u64,
    pub cache_tokens: u64,
    pub workspace: u64,
    pub tokenizer: u64,
    /// Whether a smaller type of weights exists.
    pub float: bool,
}

impl Plan {
    pub fn new(
        weights: u64,
        kinds: impl Iterator<Item = BlockType>,
        shape: KvShape,
        limits: &Limits,
        workspace: u64,
        vocabulary: usize,
    ) -> Plan {
        let mut kinds = kinds;
        Plan {
            weights,
            cache: KvCache::bytes_for(shape, limits.pages, KvType::F16) as u64,
            cache_tokens: (limits.pages * limits.page_tokens) as u64,
            workspace,
            tokenizer: TOKEN * vocabulary as u64,
            float: kinds
                .any(|kind| matches!(kind, BlockType::F32 | BlockType::F16 | BlockType::Bf16)),
        }
    }

    pub fn total(&self) -> Bytes {
        Bytes(PROCESS + self.weights + self.cache + self.workspace + self.tokenizer)
    }

    /// What could be done to fit into `limit`.
    pub fn alternatives(&self, limit: Bytes) -> String {
        let without = Plan { cache: 0, ..*self }.total();
        let each = self
            .cache
            .checked_div(self.cache_tokens)
            .unwrap_or(1)
            .max(1);
        let fitting = limit.0.saturating_sub(without.0) / each;
        if fitting >= LEAST_TOKENS {
            let tokens = fitting / LEAST_TOKENS * LEAST_TOKENS;
            let total = Bytes(without.0 + tokens * each);
            return format!(
                "what would fit: a cache of {tokens} tokens ([generate] cache_tokens): about {total}"
            );
        }
        let smaller = Bytes(without.0 + LEAST_TOKENS * each);
        let hint = match self.float {
            true => "weights of fewer bits, or a smaller model",
            false => "a smaller model, or a file of fewer bits",
        };
        format!("with a cache of {LEAST_TOKENS} tokens it needs about {smaller}: choose {hint}")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "about {}: weights {}, keys and values of {} tokens {}, working memory {}, tokenizer {}, process {}",
            self.total(),
            Bytes(self.weights),
            self.cache_tokens,
            Bytes(self.cache),
            Bytes(self.workspace),
            Bytes(self.tokenizer),
            Bytes(PROCESS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fit_is_said() {
        let plan = Plan {
            weights: 100_000_000,
            cache: 400_000_000,
            cache_tokens: 16_384,
            workspace: 10_000_000,
            tokenizer: 30_000_000,
            float: false,
        };
        assert_eq!(plan.total(), Bytes(554_000_000));
        let smaller = plan.alternatives(Bytes(300_000_000));
        assert!(smaller.contains("a cache of 5632 tokens"), "{smaller}");
        assert!(
            plan.alternatives(Bytes(120_000_000))
                .contains("a smaller model")
        );
    }
}
