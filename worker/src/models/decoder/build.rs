//! The network from its tensors.

use tidegate_kernels::{
    BlockLinear, Decoder, DecoderLayer, DecoderParts, DecoderShape, Isa, RmsNorm,
};

use super::config::{Config, Family};
use super::rope::Scaling;
use super::{Raw, Tensors};
use crate::models::ModelError;

/// Reads and packs every tensor. `context` is the longest sequence that will be computed.
pub(super) fn decoder(
    config: &Config,
    context: usize,
    tensors: &dyn Tensors,
) -> Result<Decoder, ModelError> {
    let builder = Builder {
        config,
        tensors,
        isa: Isa::best(),
    };
    let layers = (0..config.layers).map(|layer| builder.layer(layer));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let head = match config.tied || tensors.shape("output.weight").is_none() {
        true => None,
        false => Some(builder.linear("output", config.vocabulary, config.width)?),
    };
    let ropes = [
        (&config.scaling, config.rope_base),
        (&Scaling::None, config.local_rope_base),
    ];
    let ropes = ropes.into_iter().map(|(scaling, base)| {
        let rope = scaling.rope(config.pairs, config.rope_dims, base, context);
        rope.map_err(|problem| tensors.invalid(problem))
    });
    let parts = DecoderParts {
        shape: shape(config),
        tokens: builder.linear("token_embd", config.vocabulary, config.width)?,
        ropes: ropes.collect::<Result<_, _>>()?,
        layers,
        output_norm: builder.norm("output_norm", config.width)?,
        head,
    };
    Ok(Decoder::new(builder.isa, parts)?)
}

fn shape(config: &Config) -> DecoderShape {
    DecoderShape {
        width: config.width,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        inner: config.inner,
        vocab: config.vocabulary,
        activation: config.activation(),
        attention_scale: config.attention_scale(),
        attention_softcap: config.attention_softcap,
        logit_softcap: config.logit_softcap,
        embedding_scale: config.embedding_scale(),
    }
}

struct Builder<'a> {
    config: &'a Config,
    tensors: &'a dyn Tensors,
    isa: Isa,
}

impl Builder<'_> {
    fn layer(&self, index: usize) -> Result<DecoderLayer, ModelError> {
        let config = self.config;
        let Config {
            width,
            head_dim,
            inner,
            ..
        } = *config;
        let (query, key) = (config.heads * head_dim, config.kv_heads * head_dim);
        let name = |part: &str| format!("blk.{index}.{part}");
        let (queries, keys, values) = match config.family {
            Family::Phi3 => {
                let fused = self.matrix(&name("attn_qkv.weight"), query + 2 * key, width)?;
                let part = |from, rows| self.part(&fused, from, rows);
                (part(0, query)?, part(query, key)?, part(query + key, key)?)
            }
            _ => (
                self.linear(&name("attn_q"), query, width)?,
                self.linear(&name("attn_k"), key, width)?,
                self.linear(&name("attn_v"), key, width)?,
            ),
        };
        let (gate, up) = match config.family {
            Family::Phi3 => {
                let fused = self.matrix(&name("ffn_up.weight"), 2 * inner, width)?;
                (
                    self.part(&fused, 0, inner)?,
                    self.part(&fused, inner, inner)?,
                )
            }
            _ => (
                self.linear(&name("ffn_gate"), inner, width)?,
                self.linear(&name("ffn_up"), inner, width)?,
            ),
        };
        let local = config.window.is_some() && config.is_local(index);
        Ok(DecoderLayer {
            attention_norm: self.norm(&name("attn_norm"), width)?,
            queries,
            keys,
            values,
            query_norm: self.optional_norm(&name("attn_q_norm"), head_dim)?,
            key_norm: self.optional_norm(&name("attn_k_norm"), head_dim)?,
            output: self.linear(&name("attn_output"), width, query)?,
            post_attention_norm: self.optional_norm(&name("post_attention_norm"), width)?,
            feed_forward_norm: self.norm(&name("ffn_norm"), width)?,
            gate,
            up,
            down: self.linear(&name("ffn_down"), width, inner)?,
            post_feed_forward_norm: self.optional_norm(&name("post_ffw_norm"), width)?,
            window: config.window.filter(|_| local),
            rope: usize::from(local && config.family == Family::Gemma3),
        })
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Raw, ModelError> {
        let Some((_, found_rows, found_cols)) = self.tensors.shape(name) else {
            return Err(self.tensors.invalid(format!("tensor {name} is missing")));
        };
        if (found_rows, found_cols) != (rows, cols) {
            return Err(self.tensors.invalid(format!(
                "tensor {name} has {found_rows} rows of {found_cols}; expected {rows} of {cols}"
            )));
        }
        self.tensors.read(name)
    }

    fn linear(&self, name: &str, rows: usize, cols: usize) -> Result<BlockLinear, ModelError> {
        let raw = self.matrix(&format!("{name}.weight"), rows, cols)?;
        let bias = format!("{name}.bias");
        let bias = match self.tensors.shape(&bias) {
            Some(_) => Some(self.vector(&bias, rows)?),
            None => None,
        };
        Ok(BlockLinear::pack(
            self.isa,
            &raw.weights(),
            bias.as_deref(),
        )?)
    }

    /// Some rows of a fused matrix.
    fn part(&self, fused: &Raw, from: usize, rows: usize) -> Result<BlockLinear, ModelError> {
        let part = fused.weights().rows(from..from + rows)?;
        Ok(BlockLinear::pack(self.isa, &part, None)?)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let raw = self.matrix(name, 1, len)?;
        let mut values = vec![0.0; len];
        raw.weights().dequantize_row(0, &mut values)?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(self
                .tensors
                .invalid(format!("tensor {name} holds {} at {at}", values[at]))),
            None => Ok(values),
        }
    }

    fn norm(&self, name: &str, len: usize) -> Result<RmsNorm, ModelError> {
        let weight = self.vector(&format!("{name}.weight"), len)?;
        let eps = self.config.eps;
        Ok(match self.config.norms_from_one {
            true => RmsNorm::plus_one(&weight, eps)?,
            false => RmsNorm::new(weight, eps)?,
        })
    }

    fn optional_norm(&self, name: &str, len: usize) -> Result<Option<RmsNorm>, ModelError> {
        match self.tensors.shape(&format!("{name}.weight")) {
            Some(_) => self.norm(name, len).map(Some),
            None => Ok(None),
        }
    }
}
