//! What an encoder is put together from.

use crate::attention::{Attention, RelativeBias};
use crate::embed::Table;
use crate::error::{ShapeError, at_most, exactly, same_isa};
use crate::isa::Isa;
use crate::linear::Dense;
use crate::math::Activation;
use crate::norm::LayerNorm;
use crate::rope::RopeTable;

/// Everything that [`crate::Encoder::new`] checks and keeps.
pub struct EncoderParts {
    /// The isa of every linear layer.
    pub isa: Isa,
    pub embeddings: Embeddings,
    pub attention: Attention,
    pub relative_bias: Option<RelativeBias>,
    /// The rotations that layers use.
    pub ropes: Vec<RopeTable>,
    pub layers: Vec<Layer>,
    /// On the last hidden state.
    pub final_norm: Option<LayerNorm>,
}

/// The sum of a token's word, position and kind, normalized.
pub struct Embeddings {
    pub words: Table,
    /// None where positions enter by a relative bias or by rotation alone.
    pub positions: Option<Table>,
    /// The row of `positions` of a sequence's first token: 0 for BERT, padding index + 1 for
    /// RoBERTa and MPNet.
    pub first_position: usize,
    /// Token kinds ("token types"): none for DistilBERT and MPNet.
    pub kinds: Option<Table>,
    pub norm: LayerNorm,
}

/// One layer: attention(x) is out(attention(qkv(x))), and feed_forward(x) is down(activation(up(x))),
/// or with a gate down(activation(up(x)) * gate(x)).
pub struct Layer {
    pub norms: Norms,
    /// Queries, keys and values side by side: hidden to 3 x hidden.
    pub qkv: Dense,
    /// How queries and keys are rotated: a place in [`EncoderParts::ropes`].
    pub rope: Option<usize>,
    /// How many places away a query sees keys, on both sides; its whole sequence if none.
    pub window: Option<usize>,
    pub out: Dense,
    pub up: Dense,
    pub activation: Activation,
    pub gate: Option<Dense>,
    pub down: Dense,
}

/// Where a layer normalizes. All layers of an encoder do it in the same place.
pub enum Norms {
    /// x = attention_norm(x + attention(x)), then x = output_norm(x + feed_forward(x)).
    After {
        attention: LayerNorm,
        output: LayerNorm,
    },
    /// x = x + attention(attention_norm(x)), then x = x + feed_forward(feed_forward_norm(x)).
    Before {
        /// None in a first layer alone, after the norm of the embeddings.
        attention: Option<LayerNorm>,
        feed_forward: LayerNorm,
    },
}

impl Norms {
    /// The norm of what attention reads, where the residual branch goes around it.
    pub(super) fn before_attention(&self) -> Option<&LayerNorm> {
        match self {
            Self::After { .. } => None,
            Self::Before { attention, .. } => attention.as_ref(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &LayerNorm> {
        let (first, second) = match self {
            Self::After { attention, output } => (Some(attention), output),
            Self::Before {
                attention,
                feed_forward,
            } => (attention.as_ref(), feed_forward),
        };
        first.into_iter().chain([second])
    }
}

impl EncoderParts {
    /// Refuses parts that do not fit each other.
    pub(super) fn check(&self) -> Result<(), ShapeError> {
        let width = self.attention.width();
        self.embeddings.check(width)?;
        for rope in &self.ropes {
            rope.check(self.attention.head_dim)?;
        }
        let mut windows = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            layer.check(self.isa, width, self.inner_width())?;
            layer.check_norms(width, index, &self.layers[0].norms)?;
            let ropes = layer.rope.map_or(0, |rope| rope + 1);
            at_most("rope of a layer", self.ropes.len(), ropes)?;
            windows += usize::from(layer.window.is_some());
        }
        if let Some(bias) = &self.relative_bias {
            let heads = self.attention.heads;
            exactly("heads of the relative bias", heads, bias.heads())?;
            exactly("windows beside a relative bias", 0, windows)?;
        }
        let last = self.final_norm.as_ref().map_or(width, LayerNorm::cols);
        exactly("width of the final norm", width, last)
    }

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
        let Some(gate) = &self.gate else {
            return Ok(());
        };
        same_isa(isa, gate.isa())?;
        exactly("inputs of the gate", width, gate.inputs())?;
        exactly("outputs of the gate", inner, gate.outputs())?;
        let alike = gate.reads_int8() == self.up.reads_int8();
        exactly("gate and layer that read alike", 1, usize::from(alike))
    }

    fn check_norms(&self, width: usize, index: usize, first: &Norms) -> Result<(), ShapeError> {
        for norm in self.norms.all() {
            exactly("width of a layer's norm", width, norm.cols())?;
        }
        let alike = std::mem::discriminant(&self.norms) == std::mem::discriminant(first);
        exactly("layers that normalize in one place", 1, usize::from(alike))?;
        let bare = matches!(
            self.norms,
            Norms::Before {
                attention: None,
                ..
            }
        );
        exactly(
            "later layers without a norm before attention",
            0,
            usize::from(bare && index > 0),
        )
    }

    pub(super) fn bytes(&self) -> usize {
        let linears = [&self.qkv, &self.out, &self.up, &self.down];
        let linears = linears.into_iter().chain(&self.gate).map(Dense::bytes);
        let norms = self.norms.all().map(LayerNorm::bytes);
        linears.chain(norms).sum()
    }
}
