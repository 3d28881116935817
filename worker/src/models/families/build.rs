//! An encoder from its tensors, by its family's names.

use tidegate_kernels::{
    Attention, Embeddings, Encoder, EncoderParts, Isa, Layer, LayerNorm, RelativeBias,
};

use super::Architecture;
use super::family::Kinds;
use crate::models::ModelError;
use crate::models::weights::{Matrix, Tensors};

/// The farthest distance that MPNet tells apart (Song et al., 2020; transformers'
/// `relative_position_bucket`).
const MPNET_MAX_DISTANCE: usize = 128;

impl Architecture {
    /// Builds the encoder from its weights.
    pub fn encoder(&self, tensors: &mut dyn Tensors) -> Result<Encoder, ModelError> {
        let isa = Isa::best();
        let config = &self.config;
        let mut build = Build {
            architecture: self,
            isa,
            prefix: self.prefix(tensors),
            tensors,
        };
        let head_dim = config.hidden_size / config.num_attention_heads;
        let embeddings = build.embeddings()?;
        let relative_bias = build.relative_bias()?;
        let layers = (0..config.num_hidden_layers).map(|layer| build.layer(layer));
        let parts = EncoderParts {
            isa,
            embeddings,
            attention: Attention {
                heads: config.num_attention_heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
            },
            relative_bias,
            layers: layers.collect::<Result<_, _>>()?,
        };
        Ok(Encoder::new(parts)?)
    }

    /// The family's prefix, if this checkpoint uses it.
    fn prefix(&self, tensors: &dyn Tensors) -> &'static str {
        let prefix = self.family.prefix;
        match tensors.has(&format!("{prefix}embeddings.word_embeddings.weight")) {
            true => prefix,
            false => "",
        }
    }
}

/// An encoder that is being built.
struct Build<'a> {
    architecture: &'a Architecture,
    isa: Isa,
    prefix: &'static str,
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
        let words = table("word_embeddings", config.vocab_size)?;
        let positions = table("position_embeddings", config.max_position_embeddings)?;
        let kinds = match self.architecture.family.kinds {
            Kinds::None => None,
            _ => Some(table("token_type_embeddings", config.type_vocab_size)?),
        };
        Ok(Embeddings {
            words,
            positions: Some(positions),
            first_position: self.architecture.first_position(),
            kinds,
            norm: self.norm(&format!("{prefix}embeddings.LayerNorm"))?,
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

    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let family = self.architecture.family;
        let config = &self.architecture.config;
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let at = format!("{}{}.{index}", self.prefix, family.layers);
        let name = |part: &str| format!("{at}.{part}");
        let mut qkv = Vec::new();
        let mut qkv_bias = Vec::new();
        for part in [family.query, family.key, family.value] {
            let (matrix, bias) = self.linear(&name(part), width, width)?;
            qkv.push(matrix);
            qkv_bias.extend(bias);
        }
        let (out, out_bias) = self.linear(&name(family.out), width, width)?;
        let (up, up_bias) = self.linear(&name(family.up), inner, width)?;
        let (down, down_bias) = self.linear(&name(family.down), width, inner)?;
        Ok(Layer {
            qkv: Matrix::stack(qkv).dense(self.isa, &qkv_bias)?,
            out: out.dense(self.isa, &out_bias)?,
            attention_norm: self.norm(&name(family.attention_norm))?,
            up: up.dense(self.isa, &up_bias)?,
            activation: self.architecture.activation,
            down: down.dense(self.isa, &down_bias)?,
            output_norm: self.norm(&name(family.output_norm))?,
        })
    }

    fn linear(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<(Matrix, Vec<f32>), ModelError> {
        let matrix = self.tensors.matrix(&format!("{name}.weight"), rows, cols)?;
        let bias = self.tensors.vector(&format!("{name}.bias"), rows)?;
        Ok((matrix, bias))
    }

    /// Checkpoints that came from TensorFlow say gamma and beta.
    fn norm(&mut self, name: &str) -> Result<LayerNorm, ModelError> {
        let config = &self.architecture.config;
        let old = self.tensors.has(&format!("{name}.gamma"));
        let (gain, bias) = match old {
            true => ("gamma", "beta"),
            false => ("weight", "bias"),
        };
        let gain = self
            .tensors
            .vector(&format!("{name}.{gain}"), config.hidden_size)?;
        let bias = self
            .tensors
            .vector(&format!("{name}.{bias}"), config.hidden_size)?;
        Ok(LayerNorm::new(gain, bias, config.layer_norm_eps)?)
    }
}
