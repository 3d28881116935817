//! What an encoder is put together from.

use crate::attention::{Attention, RelativeBias};
use crate::embed::Table;
use crate::error::{ShapeError, exactly, same_isa};
use crate::isa::Isa;
use crate::linear::Dense;
use crate::math::Activation;
use crate::norm::LayerNorm;

/// Everything that [`crate::Encoder::new`] checks and keeps.
pub struct EncoderParts {
    /// The isa of every linear layer.
    pub isa: Isa,
    pub embeddings: Embeddings,
    pub attention: Attention,
    pub relative_bias: Option<RelativeBias>,
    pub layers: Vec<Layer>,
}

/// The sum of a token's word, position and kind, normalized.
pub struct Embeddings {
    pub words: Table,
    /// None where positions enter by a relative bias alone.
    pub positions: Option<Table>,
    /// The row of `positions` of a sequence's first token: 0 for BERT, padding index + 1 for
    /// RoBERTa and MPNet.
    pub first_position: usize,
    /// Token kinds ("token types"): none for DistilBERT and MPNet.
    pub kinds: Option<Table>,
    pub norm: LayerNorm,
}

/// One layer: x = norm(x + out(attention(qkv(x)))), then x = norm(x + down(activation(up(x)))).
pub struct Layer {
    /// Queries, keys and values side by side: hidden to 3 x hidden.
    pub qkv: Dense,
    pub out: Dense,
    pub attention_norm: LayerNorm,
    pub up: Dense,
    pub activation: Activation,
    pub down: Dense,
    pub output_norm: LayerNorm,
}

impl EncoderParts {
    /// Width between the feed-forward layers, the same for every layer.
    pub(super) fn inner_width(&self) -> usize {
        self.layers.first().map_or(1, |layer| layer.up.outputs())
    }
}

impl Embeddings {
    pub(super) fn check(&self, width: usize) -> Result<(), ShapeError> {
        exactly("width of the word table", width, self.words.cols())?;
        exactly("width of the embedding norm", width, self.norm.cols())?;
        for table in self.positions.iter().chain(&self.kinds) {
            exactly("width of an embedding table", width, table.cols())?;
        }
        Ok(())
    }

    pub(super) fn max_len(&self) -> Option<usize> {
        let positions = self.positions.as_ref()?;
        Some(positions.rows().saturating_sub(self.first_position))
    }

    pub(super) fn bytes(&self) -> usize {
        let tables = self.positions.iter().chain(&self.kinds).map(Table::bytes);
        self.words.bytes() + self.norm.bytes() + tables.sum::<usize>()
    }
}

impl Layer {
    pub(super) fn check(&self, isa: Isa, width: usize, inner: usize) -> Result<(), ShapeError> {
        for linear in [&self.qkv, &self.out, &self.up, &self.down] {
            same_isa(isa, linear.isa())?;
        }
        exactly(
            "inputs of the query, key and value layer",
            width,
            self.qkv.inputs(),
        )?;
        exactly(
            "outputs of the query, key and value layer",
            3 * width,
            self.qkv.outputs(),
        )?;
        exactly(
            "inputs of the attention output layer",
            width,
            self.out.inputs(),
        )?;
        exactly(
            "outputs of the attention output layer",
            width,
            self.out.outputs(),
        )?;
        exactly(
            "inputs of the first feed-forward layer",
            width,
            self.up.inputs(),
        )?;
        exactly(
            "outputs of the first feed-forward layer",
            inner,
            self.up.outputs(),
        )?;
        exactly(
            "inputs of the second feed-forward layer",
            inner,
            self.down.inputs(),
        )?;
        exactly(
            "outputs of the second feed-forward layer",
            width,
            self.down.outputs(),
        )?;
        exactly(
            "width of the attention norm",
            width,
            self.attention_norm.cols(),
        )?;
        exactly("width of the output norm", width, self.output_norm.cols())
    }

    pub(super) fn bytes(&self) -> usize {
        let linears = [&self.qkv, &self.out, &self.up, &self.down].map(Dense::bytes);
        let norms = self.attention_norm.bytes() + self.output_norm.bytes();
        linears.iter().sum::<usize>() + norms
    }
}
