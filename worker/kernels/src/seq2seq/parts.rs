//! What an encoder and its decoder are put together from.

use crate::block_linear::BlockLinear;
use crate::error::{ShapeError, at_least, exactly, same_isa};
use crate::isa::Isa;
use crate::linear::Activation;
use crate::paged::PagedAttention;
use crate::rms_norm::RmsNorm;

/// The sizes and constants of both stacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Seq2SeqShape {
    /// Values of a hidden row.
    pub width: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Width between the feed-forward layers.
    pub inner: usize,
    pub vocab: usize,
    /// Of the feed-forward gate, or of its one layer where there is no gate.
    pub activation: Activation,
    /// Buckets of distances, and the distance from which on all share the last one.
    pub buckets: usize,
    pub max_distance: usize,
    /// Tokens of the longest source and of the longest target.
    pub max_source: usize,
    pub max_target: usize,
}

/// Everything that [`crate::Seq2Seq::new`] checks and keeps.
pub struct Seq2SeqParts {
    pub shape: Seq2SeqShape,
    /// A channel for each token: its embedding in both stacks.
    pub tokens: BlockLinear,
    pub encoder: Stack,
    pub decoder: Stack,
    /// From hidden rows to logits; the token table if there is none.
    pub head: Option<BlockLinear>,
}

/// The layers of an encoder or a decoder.
pub struct Stack {
    pub layers: Vec<Seq2SeqLayer>,
    /// A row of a value a head for each bucket of distances.
    pub biases: Vec<f32>,
    pub output_norm: RmsNorm,
}

/// One layer: x += attention(norm(x)), in a decoder x += cross(norm(x)), x += feed_forward(norm(x)).
pub struct Seq2SeqLayer {
    pub attention: SelfAttention,
    /// In every layer of a decoder, in none of an encoder.
    pub cross: Option<CrossAttention>,
    pub feed_forward: FeedForward,
}

pub struct SelfAttention {
    pub norm: RmsNorm,
    /// Queries, keys and values side by side.
    pub project: BlockLinear,
    pub output: BlockLinear,
}

/// Attention from a target to its source.
pub struct CrossAttention {
    pub norm: RmsNorm,
    pub queries: BlockLinear,
    /// Keys and values side by side, of a source's rows.
    pub source: BlockLinear,
    pub output: BlockLinear,
}

/// down(activation(up(x))), or with a gate down(activation(gate(x)) * up(x)).
pub struct FeedForward {
    pub norm: RmsNorm,
    pub gate: Option<BlockLinear>,
    pub up: BlockLinear,
    pub down: BlockLinear,
}

impl Seq2SeqShape {
    /// Width of the queries, of the keys and of the values.
    pub(super) fn attended(&self) -> usize {
        self.heads * self.head_dim
    }

    pub(super) fn attention(&self) -> PagedAttention {
        PagedAttention {
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.head_dim,
            scale: 1.0,
            softcap: None,
        }
    }
}

impl Seq2SeqParts {
    pub(super) fn check(&self, isa: Isa) -> Result<(), ShapeError> {
        let shape = &self.shape;
        at_least("heads", 1, shape.heads)?;
        at_least("head width", 1, shape.head_dim)?;
        at_least("buckets of distances", 4, shape.buckets)?;
        at_least("largest distance", shape.buckets, shape.max_distance)?;
        at_least("longest source", 1, shape.max_source)?;
        at_least("longest target", 1, shape.max_target)?;
        fits("token table", isa, &self.tokens, shape.width, shape.vocab)?;
        if let Some(head) = &self.head {
            fits("output head", isa, head, shape.width, shape.vocab)?;
        }
        self.encoder.check(isa, shape, 0)?;
        self.decoder.check(isa, shape, 1)
    }

    pub(super) fn bytes(&self) -> usize {
        let head = self.head.as_ref().map_or(0, BlockLinear::bytes);
        self.tokens.bytes() + self.encoder.bytes() + self.decoder.bytes() + head
    }
}

impl Stack {
    fn check(&self, isa: Isa, shape: &Seq2SeqShape, cross: usize) -> Result<(), ShapeError> {
        exactly(
            "biases by distance",
            shape.buckets * shape.heads,
            self.biases.len(),
        )?;
        exactly(
            "width of a stack's norm",
            shape.width,
            self.output_norm.cols(),
        )?;
        for layer in &self.layers {
            exactly(
                "cross attentions of a layer",
                cross,
                usize::from(layer.cross.is_some()),
            )?;
            layer.check(isa, shape)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(Seq2SeqLayer::bytes).sum();
        layers + self.output_norm.bytes()
    }
}

impl Seq2SeqLayer {
    fn check(&self, isa: Isa, shape: &Seq2SeqShape) -> Result<(), ShapeError> {
        let (width, attended, inner) = (shape.width, shape.attended(), shape.inner);
        for norm in self.norms() {
            exactly("width of a norm", width, norm.cols())?;
        }
        let own = &self.attention;
        fits("attention", isa, &own.project, width, 3 * attended)?;
        fits("attention's output", isa, &own.output, attended, width)?;
        if let Some(cross) = &self.cross {
            fits("cross queries", isa, &cross.queries, width, attended)?;
            fits(
                "cross keys and values",
                isa,
                &cross.source,
                width,
                2 * attended,
            )?;
            fits("cross output", isa, &cross.output, attended, width)?;
        }
        let wide = &self.feed_forward;
        if let Some(gate) = &wide.gate {
            fits("gate", isa, gate, width, inner)?;
            let same = gate.reads_floats() == wide.up.reads_floats();
            exactly("gate and layer that read alike", 1, usize::from(same))?;
        }
        fits("wide layer", isa, &wide.up, width, inner)?;
        fits("narrow layer", isa, &wide.down, inner, width)
    }

    fn norms(&self) -> impl Iterator<Item = &RmsNorm> {
        [&self.attention.norm, &self.feed_forward.norm]
            .into_iter()
            .chain(self.cross.as_ref().map(|cross| &cross.norm))
    }

    fn bytes(&self) -> usize {
        let cross = self.cross.iter();
        let wide = &self.feed_forward;
        let linears = [
            &self.attention.project,
            &self.attention.output,
            &wide.up,
            &wide.down,
        ]
        .into_iter()
        .chain(&wide.gate)
        .chain(cross.flat_map(|cross| [&cross.queries, &cross.source, &cross.output]));
        let norms: usize = self.norms().map(RmsNorm::bytes).sum();
        linears.map(BlockLinear::bytes).sum::<usize>() + norms
    }
}

fn fits(
    what: &'static str,
    isa: Isa,
    linear: &BlockLinear,
    inputs: usize,
    outputs: usize,
) -> Result<(), ShapeError> {
    same_isa(isa, linear.isa())?;
    exactly(what, inputs, linear.inputs())?;
    exactly(what, outputs, linear.outputs())
}
