//! An encoder from its tensors, by its family's names.

use tidegate_kernels::{
    Attention, Embeddings, Encoder, EncoderParts, Isa, Layer, LayerNorm, Norms, RelativeBias,
};

use super::family::{Kinds, LayerNames};
use super::{Architecture, Structure};
use crate::models::ModelError;
use crate::models::weights::{Matrix, Tensors};

/// The farthest distance that MPNet tells apart (Song et al., 2020; transformers'
/// `relative_position_bucket`).
const MPNET_MAX_DISTANCE: usize = 128;

impl Architecture {
    /// Builds the encoder from its weights, for texts of up to `longest` tokens.
    pub fn encoder(
        &self,
        tensors: &mut dyn Tensors,
        longest: usize,
    ) -> Result<Encoder, ModelError> {
        let isa = Isa::best();
        let config = &self.config;
        let mut build = Build {
            architecture: self,
            isa,
            prefix: self.prefix(tensors),
            tensors,
        };
        let head_dim = self.head_dim();
        let embeddings = build.embeddings()?;
        let relative_bias = build.relative_bias()?;
        let layers = (0..config.num_hidden_layers).map(|index| match &self.structure {
            Structure::Bert(names) => build.layer(names, index),
            Structure::ModernBert(settings) => build.modern_layer(settings, index),
        });
        let layers = layers.collect::<Result<_, _>>()?;
        let (ropes, final_norm) = match &self.structure {
            Structure::Bert(_) => (Vec::new(), None),
            Structure::ModernBert(settings) => {
                let norm = build.norm(&format!("{}final_norm", build.prefix))?;
                (settings.ropes(head_dim, longest)?, Some(norm))
            }
        };
        let parts = EncoderParts {
            isa,
            embeddings,
            attention: Attention {
                heads: config.num_attention_heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
            },
            relative_bias,
            ropes,
            layers,
            final_norm,
        };
        Ok(Encoder::new(parts)?)
    }

    /// The family's prefix, if this checkpoint uses it.
    fn prefix(&self, tensors: &dyn Tensors) -> &'static str {
        let prefix = self.family.prefix;
        let words = self.family.words;
        match tensors.has(&format!("{prefix}embeddings.{words}.weight")) {
            true => prefix,
            false => "",
        }
    }
}

/// An encoder that is being built.
pub(super) struct Build<'a> {
    pub(super) architecture: &'a Architecture,
    pub(super) isa: Isa,
    pub(super) prefix: &'static str,
    tensors: &'a mut dyn Tensors,
}

impl Build<'_> {
    fn embeddings(&mut self) -> Result<Embeddings, ModelError> {
        let config = &self.architecture.config;
        let (prefix, width) = (self.prefix, config.hidden_size);
        let mut table = |name: &str, rows: usize| {
            let name = format!("{prefix}embeddings.{name}.weight");
            Ok::<_, ModelError>(self.tensors.matrix(&name, rows, width)?.table()?)
        };
        let family = self.architecture.family;
        let words = table(family.words, config.vocab_size)?;
        let (positions, norm) = match self.architecture.structure {
            Structure::Bert(_) => {
                let positions = table("position_embeddings", config.max_position_embeddings)?;
                (Some(positions), "LayerNorm")
            }
            Structure::ModernBert(_) => (None, "norm"),
        };
        let kinds = match family.kinds {
            Kinds::None => None,
            _ => Some(table("token_type_embeddings", config.type_vocab_size)?),
        };
        Ok(Embeddings {
            words,
            positions,
            first_position: self.architecture.first_position(),
            kinds,
            norm: self.norm(&format!("{prefix}embeddings.{norm}"))?,
        })
    }

    fn relative_bias(&mut self) -> Result<Option<RelativeBias>, ModelError> {
        let Some(name) = self.architecture.family.relative_bias else {
            return Ok(None);
        };
        let config = &self.architecture.config;
        let buckets = config.relative_attention_num_buckets.unwrap_or(32);
        let heads = config.num_attention_heads;
        let name = format!("{}{name}", self.prefix);
        let table = self.tensors.exact(&name, buckets, heads)?;
        let longest = self.architecture.longest();
        let bias = RelativeBias::from_buckets(&table, heads, buckets, MPNET_MAX_DISTANCE, longest)?;
        Ok(Some(bias))
    }

    fn layer(&mut self, names: &LayerNames, index: usize) -> Result<Layer, ModelError> {
        let config = &self.architecture.config;
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let at = format!("{}{}.{index}", self.prefix, names.layers);
        let name = |part: &str| format!("{at}.{part}");
        let mut qkv = Vec::new();
        let mut qkv_bias = Vec::new();
        for part in [names.query, names.key, names.value] {
            let (matrix, bias) = self.linear(&name(part), width, width, true)?;
            qkv.push(matrix);
            qkv_bias.extend(bias);
        }
        let (out, out_bias) = self.linear(&name(names.out), width, width, true)?;
        let (up, up_bias) = self.linear(&name(names.up), inner, width, true)?;
        let (down, down_bias) = self.linear(&name(names.down), width, inner, true)?;
        Ok(Layer {
            norms: Norms::After {
                attention: self.norm(&name(names.attention_norm))?,
                output: self.norm(&name(names.output_norm))?,
            },
            qkv: Matrix::stack(qkv).dense(self.isa, &qkv_bias)?,
            rope: None,
            window: None,
            out: out.dense(self.isa, &out_bias)?,
            up: up.dense(self.isa, &up_bias)?,
            activation: self.architecture.activation,
            gate: None,
            down: down.dense(self.isa, &down_bias)?,
        })
    }

    /// A layer's matrix and its bias: zeros if it is `biased` by none.
    pub(super) fn linear(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        biased: bool,
    ) -> Result<(Matrix, Vec<f32>), ModelError> {
        let matrix = self.tensors.matrix(&format!("{name}.weight"), rows, cols)?;
        let bias = match biased {
            true => self.tensors.vector(&format!("{name}.bias"), rows)?,
            false => vec![0.0; rows],
        };
        Ok((matrix, bias))
    }

    /// Checkpoints that came from TensorFlow say gamma and beta.
    pub(super) fn norm(&mut self, name: &str) -> Result<LayerNorm, ModelError> {
        let config = &self.architecture.config;
        let old = self.tensors.has(&format!("{name}.gamma"));
        let (gain, bias) = match old {
            true => ("gamma", "beta"),
            false => ("weight", "bias"),
        };
        let gain = self
            .tensors
            .vector(&format!("{name}.{gain}"), config.hidden_size)?;
        let bias = match self.architecture.norms_have_bias() {
            true => (self.tensors).vector(&format!("{name}.{bias}"), config.hidden_size)?,
            false => vec![0.0; config.hidden_size],
        };
        Ok(LayerNorm::new(gain, bias, config.layer_norm_eps)?)
    }
}
