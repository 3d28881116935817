//! A transformer encoder over ragged batches, on linear layers in int8 or f32.
//!
//! It knows the structure that BERT, RoBERTa, XLM-R, DistilBERT and MPNet share (norm after each
//! residual, Devlin et al., 2019; Song et al., 2020), and nothing of files, names or heads: who
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
pub use parts::{Embeddings, EncoderParts, Layer};
pub use run::{EncodeError, Output, useful_threads};
use workspace::Shape;
pub use workspace::Workspace;

use crate::error::{ShapeError, exactly};

/// An encoder, packed for one isa. It is read-only: threads share it, each with a [`Workspace`] of
/// its own.
pub struct Encoder {
    parts: EncoderParts,
}

impl Encoder {
    /// # Errors
    /// Two parts do not fit each other.
    pub fn new(parts: EncoderParts) -> Result<Self, ShapeError> {
        let width = parts.attention.width();
        parts.embeddings.check(width)?;
        for layer in &parts.layers {
            layer.check(parts.isa, width, parts.inner_width())?;
        }
        if let Some(bias) = &parts.relative_bias {
            exactly(
                "heads of the relative bias",
                parts.attention.heads,
                bias.heads(),
            )?;
        }
        Ok(Self { parts })
    }

    /// Values a row.
    pub fn width(&self) -> usize {
        self.parts.attention.width()
    }

    /// The longest sequence that the position tables allow, if they set a limit.
    pub fn max_len(&self) -> Option<usize> {
        let positions = self.parts.embeddings.max_len();
        let bias = self
            .parts
            .relative_bias
            .as_ref()
            .map(crate::RelativeBias::max_len);
        positions.into_iter().chain(bias).min()
    }

    /// Memory held by weights, tables and scales.
    pub fn bytes(&self) -> usize {
        let layers: usize = self.parts.layers.iter().map(Layer::bytes).sum();
        self.parts.embeddings.bytes() + layers
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
