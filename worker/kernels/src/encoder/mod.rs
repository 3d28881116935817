//! A transformer encoder over ragged batches, on linear layers in int8 or f32.
//!
//! It knows the structure that BERT, RoBERTa, XLM-R, DistilBERT and MPNet share (norm after each
//! residual, Devlin et al., 2019; Song et al., 2020) and that of ModernBERT (norm before each branch,
//! rotated positions, windows, gates; Warner et al., 2024), and nothing of files, names or heads: who
//! loads a model packs its weights into [`EncoderParts`]. Sequences follow each other without
//! padding. A batch is worked off in chunks of whole sequences, each going through all layers while
//! its rows stay in the second-level cache; the workspace is as large as one chunk, whatever the batch.
//! Nothing is allocated between the first layer and the last.
//!
//! Where threads share a chunk, each member owns some rows and needs the others' keys and values once
//! a layer. There are two buffers for those, used in turn, so one barrier a layer is enough: a member
//! writes the buffer of layer n + 2 only after the barrier of layer n + 1, which every member reaches
//! after it has read the buffer of layer n.

mod batch;
mod layer;
mod parts;
mod run;
mod workspace;

pub use batch::Batch;
pub use parts::{Embeddings, EncoderParts, Layer, Norms};
pub use run::{EncodeError, Output, useful_threads};
use workspace::Shape;
pub use workspace::Workspace;

use crate::error::ShapeError;
use crate::norm::LayerNorm;
use crate::rope::RopeTable;

/// An encoder, packed for one isa. It is read-only: threads share it, each with a [`Workspace`] of
/// its own.
pub struct Encoder {
    parts: EncoderParts,
}

impl Encoder {
    /// # Errors
    /// Two parts do not fit each other.
    pub fn new(parts: EncoderParts) -> Result<Self, ShapeError> {
        parts.check()?;
        Ok(Self { parts })
    }

    /// Values a row.
    pub fn width(&self) -> usize {
        self.parts.attention.width()
    }

    /// The longest sequence that the tables of positions allow, if they set a limit.
    pub fn max_len(&self) -> Option<usize> {
        let positions = self.parts.embeddings.max_len();
        let bias = self
            .parts
            .relative_bias
            .as_ref()
            .map(crate::RelativeBias::max_len);
        let ropes = self.parts.ropes.iter().map(RopeTable::max_len);
        positions.into_iter().chain(bias).chain(ropes).min()
    }

    /// Memory held by weights, tables and scales.
    pub fn bytes(&self) -> usize {
        let layers: usize = self.parts.layers.iter().map(Layer::bytes).sum();
        let ropes: usize = self.parts.ropes.iter().map(RopeTable::bytes).sum();
        let last = self.parts.final_norm.as_ref().map_or(0, LayerNorm::bytes);
        self.parts.embeddings.bytes() + layers + ropes + last
    }

    fn shape(&self) -> Shape {
        Shape {
            isa: self.parts.isa,
            width: self.width(),
            head_dim: self.parts.attention.head_dim,
            inner: self.parts.inner_width(),
        }
    }
}
