//! ModernBERT (Warner et al., 2024): norms before each branch, rotated positions, gated feed-forward
//! layers, and windows in most layers.

mod config;

use tidegate_kernels::{Layer, Norms, Rope, RopePairs, RopeTable};

use self::config::Reach;
pub use self::config::{Settings, Written};
use super::build::Build;
use crate::models::ModelError;

/// The places of the rotations among the encoder's.
const ROPES: [Reach; 2] = [Reach::Global, Reach::Local];

impl Settings {
    /// The rotations of texts of up to `longest` tokens, in the order of [`ROPES`].
    pub fn ropes(&self, head_dim: usize, longest: usize) -> Result<Vec<RopeTable>, ModelError> {
        let rope = |reach: &Reach| {
            let base = match reach {
                Reach::Global => self.global_base,
                Reach::Local => self.local_base,
            };
            let rope = Rope::new(RopePairs::Halves, head_dim, base);
            Ok::<_, ModelError>(RopeTable::new(rope, longest)?)
        };
        ROPES.iter().map(rope).collect()
    }
}

/// What the tables of [`Settings::ropes`] will hold.
pub fn ropes_bytes(head_dim: usize, longest: usize) -> usize {
    ROPES.len() * RopeTable::bytes_for(head_dim / 2, longest)
}

impl Build<'_> {
    pub(super) fn modern_layer(
        &mut self,
        settings: &Settings,
        index: usize,
    ) -> Result<Layer, ModelError> {
        let config = &self.architecture.config;
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let prefix = self.prefix;
        let name = |part: &str| format!("{prefix}layers.{index}.{part}");
        // The first layer's is the identity, for the embeddings have a norm.
        let attention_norm = match index {
            0 => None,
            _ => Some(self.norm(&name("attn_norm"))?),
        };
        let (attention_bias, mlp_bias) = (settings.attention_bias, settings.mlp_bias);
        let (qkv, qkv_bias) = self.linear(&name("attn.Wqkv"), 3 * width, width, attention_bias)?;
        let (out, out_bias) = self.linear(&name("attn.Wo"), width, width, attention_bias)?;
        let feed_forward_norm = self.norm(&name("mlp_norm"))?;
        let both = inner.saturating_mul(2);
        let (wide, wide_bias) = self.linear(&name("mlp.Wi"), both, width, mlp_bias)?;
        let (down, down_bias) = self.linear(&name("mlp.Wo"), width, inner, mlp_bias)?;
        let (up, gate) = wide.split(inner);
        let (up_bias, gate_bias) = wide_bias.split_at(inner);
        let reach = settings.reaches.of(index);
        Ok(Layer {
            norms: Norms::Before {
                attention: attention_norm,
                feed_forward: feed_forward_norm,
            },
            qkv: qkv.dense(self.isa, &qkv_bias)?,
            rope: ROPES.iter().position(|rope| *rope == reach),
            window: (reach == Reach::Local).then_some(settings.window),
            out: out.dense(self.isa, &out_bias)?,
            up: up.dense(self.isa, up_bias)?,
            activation: self.architecture.activation,
            gate: Some(gate.dense(self.isa, gate_bias)?),
            down: down.dense(self.isa, &down_bias)?,
        })
    }
}
