//! An encoder and a decoder that looks at it: the structure of T5 (Raffel et al., 2020), its version
//! 1.1 and mT5, on linear layers in the precision of their file.
//!
//! Norm before each residual branch, attention without a scale and with a bias by distance, a
//! feed-forward layer with or without a gate. It knows nothing of files, names, tokens' texts or
//! search. Sources follow each other without padding. What the decoder looks at, the keys and values
//! of a source for each of its layers, is computed once, by [`Seq2Seq::encode`], into pages that any
//! number of targets share; a step computes one token of each target.
//!
//! A target's logits are the same bit for bit whatever else is in the step and however many threads
//! share it: no sum depends on the rows beside it.

mod bias;
mod parts;
mod pass;
mod rows;
mod run;
mod workspace;

pub use parts::{
    CrossAttention, FeedForward, SelfAttention, Seq2SeqLayer, Seq2SeqParts, Seq2SeqShape, Stack,
};
pub use run::{Source, Target};
pub use workspace::Seq2SeqWorkspace;

use crate::block_linear::BlockLinear;
use crate::error::ShapeError;
use crate::isa::Isa;
use crate::paged::KvShape;

use bias::Biases;

/// An encoder and its decoder, packed for one isa. They are read-only: threads share them, each team
/// with a [`Seq2SeqWorkspace`] and caches of its own.
pub struct Seq2Seq {
    isa: Isa,
    parts: Seq2SeqParts,
    encoder_biases: Biases,
    decoder_biases: Biases,
}

impl Seq2Seq {
    /// # Errors
    /// Two parts do not fit each other.
    pub fn new(isa: Isa, parts: Seq2SeqParts) -> Result<Self, ShapeError> {
        parts.check(isa)?;
        let shape = &parts.shape;
        Ok(Self {
            isa,
            encoder_biases: Biases::both_ways(&parts.encoder.biases, shape),
            decoder_biases: Biases::backward(&parts.decoder.biases, shape),
            parts,
        })
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    pub fn shape(&self) -> &Seq2SeqShape {
        &self.parts.shape
    }

    /// What a cache for targets holds, and one for sources.
    pub fn kv_shape(&self) -> KvShape {
        KvShape {
            layers: self.parts.decoder.layers.len(),
            ..self.encoder_kv_shape()
        }
    }

    /// What the encoder needs while it works on a layer.
    fn encoder_kv_shape(&self) -> KvShape {
        KvShape {
            layers: 1,
            kv_heads: self.parts.shape.heads,
            head_dim: self.parts.shape.head_dim,
        }
    }

    /// Memory held by weights, norms and biases.
    pub fn bytes(&self) -> usize {
        self.parts.bytes() + self.encoder_biases.bytes() + self.decoder_biases.bytes()
    }

    fn head(&self) -> &BlockLinear {
        self.parts.head.as_ref().unwrap_or(&self.parts.tokens)
    }
}
