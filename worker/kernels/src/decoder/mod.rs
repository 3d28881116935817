//! A transformer decoder over a paged cache, on linear layers in the precision of their file.
//!
//! It knows the structure that Llama, Mistral, Qwen 2 and 3, Gemma 3 and Phi 3 share (norm before
//! each residual branch, rotary positions, grouped queries, a gated feed-forward layer), and nothing
//! of files, names, tokens' texts or sampling. One step computes any number of chunks, each some
//! tokens of one sequence: a prompt's part or the one token that was sampled last.
//!
//! A token's logits are the same bit for bit whatever else is in the step and however its prompt was
//! cut into chunks: no sum depends on the rows beside it.

mod parts;
mod phases;
mod step;
mod workspace;

pub use parts::{DecoderLayer, DecoderParts, DecoderShape};
pub use step::{Chunk, StepError, Wanted};
pub use workspace::DecoderWorkspace;

use crate::block_linear::BlockLinear;
use crate::error::ShapeError;
use crate::isa::Isa;
use crate::paged::KvShape;

/// A decoder, packed for one isa. It is read-only: threads share it, each team with a
/// [`DecoderWorkspace`] and caches of its own.
pub struct Decoder {
    isa: Isa,
    parts: DecoderParts,
}

impl Decoder {
    /// # Errors
    /// Two parts do not fit each other.
    pub fn new(isa: Isa, parts: DecoderParts) -> Result<Self, ShapeError> {
        parts.check(isa)?;
        Ok(Self { isa, parts })
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub fn shape(&self) -> &DecoderShape {
        &self.parts.shape
    }

    /// What a cache for this decoder holds.
    pub fn kv_shape(&self) -> KvShape {
        KvShape {
            layers: self.parts.layers.len(),
            kv_heads: self.parts.shape.kv_heads,
            head_dim: self.parts.shape.head_dim,
        }
    }

    /// Memory held by weights and norms.
    pub fn bytes(&self) -> usize {
        self.parts.bytes()
    }

    fn head(&self) -> &BlockLinear {
        self.parts.head.as_ref().unwrap_or(&self.parts.tokens)
    }
}
