//! What a decoder is put together from.

use crate::block_linear::BlockLinear;
use crate::error::{ShapeError, at_least, at_most, exactly, same_isa};
use crate::isa::Isa;
use crate::math::Activation;
use crate::paged::PagedAttention;
use crate::rms_norm::RmsNorm;
use crate::rope::Rope;

/// The sizes and constants of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderShape {
    /// Values of a hidden row.
    pub width: usize,
    pub heads: usize,
    /// Key and value heads, each shared by `heads / kv_heads` queries.
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Width between the feed-forward layers.
    pub inner: usize,
    pub vocab: usize,
    /// Of the feed-forward gate: `Silu`, or `GeluTanh` for Gemma.
    pub activation: Activation,
    /// What scores are multiplied with, usually 1 / sqrt(head_dim).
    pub attention_scale: f32,
    pub attention_softcap: Option<f32>,
    pub logit_softcap: Option<f32>,
    /// What embeddings are multiplied with: 1, or sqrt(width) for Gemma.
    pub embedding_scale: f32,
}

/// Everything that [`crate::Decoder::new`] checks and keeps.
pub struct DecoderParts {
    pub shape: DecoderShape,
    /// A channel for each token: its embedding.
    pub tokens: BlockLinear,
    /// One for each set of frequencies; layers name theirs by its place here.
    pub ropes: Vec<Rope>,
    pub layers: Vec<DecoderLayer>,
    pub output_norm: RmsNorm,
    /// From hidden rows to logits; the token table if there is none.
    pub head: Option<BlockLinear>,
}

/// One layer: x += post(output(attention(norm(x)))), then x += post(down(activation(gate(norm(x))) *
/// up(norm(x)))), each `post` being a norm or nothing.
pub struct DecoderLayer {
    pub attention_norm: RmsNorm,
    pub queries: BlockLinear,
    pub keys: BlockLinear,
    pub values: BlockLinear,
    /// Over each head, before its rotation (Qwen 3, Gemma 3).
    pub query_norm: Option<RmsNorm>,
    pub key_norm: Option<RmsNorm>,
    pub output: BlockLinear,
    pub post_attention_norm: Option<RmsNorm>,
    pub feed_forward_norm: RmsNorm,
    pub gate: BlockLinear,
    pub up: BlockLinear,
    pub down: BlockLinear,
    pub post_feed_forward_norm: Option<RmsNorm>,
    /// How many of the last keys a query sees, its own included; all if there is no window.
    pub window: Option<usize>,
    /// The place of its frequencies in [`DecoderParts::ropes`].
    pub rope: usize,
}

impl DecoderShape {
    pub(super) fn attention(&self) -> PagedAttention {
        PagedAttention {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: self.attention_scale,
            softcap: self.attention_softcap,
        }
    }

    pub(super) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    pub(super) fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Queries, keys and values of one row.
    pub(super) fn qkv_width(&self) -> usize {
        self.query_width() + 2 * self.key_width()
    }
}

impl DecoderParts {
    pub(super) fn check(&self, isa: Isa) -> Result<(), ShapeError> {
        let shape = &self.shape;
        shape.attention().check()?;
        for rope in &self.ropes {
            rope.check(shape.head_dim)?;
        }
        fits("token table", isa, &self.tokens, shape.width, shape.vocab)?;
        exactly(
            "width of the output norm",
            shape.width,
            self.output_norm.cols(),
        )?;
        if let Some(head) = &self.head {
            fits("output head", isa, head, shape.width, shape.vocab)?;
        }
        for layer in &self.layers {
            layer.check(isa, shape)?;
            at_most(
                "rope of a layer",
                self.ropes.len().saturating_sub(1),
                layer.rope,
            )?;
            at_least("ropes", 1, self.ropes.len())?;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let layers: usize = self.layers.iter().map(DecoderLayer::bytes).sum();
        let head = self.head.as_ref().map_or(0, BlockLinear::bytes);
        self.tokens.bytes() + head + self.output_norm.bytes() + layers
    }
}

impl DecoderLayer {
    fn check(&self, isa: Isa, shape: &DecoderShape) -> Result<(), ShapeError> {
        let (width, inner) = (shape.width, shape.inner);
        let (query, key) = (shape.query_width(), shape.key_width());
        for (what, linear, inputs, outputs) in [
            ("query layer", &self.queries, width, query),
            ("key layer", &self.keys, width, key),
            ("value layer", &self.values, width, key),
            ("attention output layer", &self.output, query, width),
            ("gate layer", &self.gate, width, inner),
            ("up layer", &self.up, width, inner),
            ("down layer", &self.down, inner, width),
        ] {
            fits(what, isa, linear, inputs, outputs)?;
        }
        let post = [&self.post_attention_norm, &self.post_feed_forward_norm];
        for norm in post.into_iter().flatten() {
            exactly("width of a norm", width, norm.cols())?;
        }
        for norm in [&self.attention_norm, &self.feed_forward_norm] {
            exactly("width of a norm", width, norm.cols())?;
        }
        for norm in [&self.query_norm, &self.key_norm].into_iter().flatten() {
            exactly("width of a head's norm", shape.head_dim, norm.cols())?;
        }
        at_least("window", 1, self.window.unwrap_or(1))
    }

    fn bytes(&self) -> usize {
        let linears = [
            &self.queries,
            &self.keys,
            &self.values,
            &self.output,
            &self.gate,
            &self.up,
            &self.down,
        ];
        let norms = [&self.attention_norm, &self.feed_forward_norm];
        linears.map(BlockLinear::bytes).iter().sum::<usize>()
            + norms.map(RmsNorm::bytes).iter().sum::<usize>()
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
