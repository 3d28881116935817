//! The network from its tensors, by the names that T5's checkpoints give them.

use tidegate_kernels::{
    BlockLinear, CrossAttention, FeedForward, Isa, RawWeights, RmsNorm, SelfAttention, Seq2Seq,
    Seq2SeqLayer, Seq2SeqParts, Seq2SeqShape, Stack,
};

use super::config::Config;
use super::tensors::{Raw, Rule, Tensors};
use crate::models::ModelError;

const WORDS: &str = "shared.weight";
const HEAD: &str = "lm_head.weight";

pub struct Builder<'a> {
    pub config: &'a Config,
    pub isa: Isa,
    pub tensors: &'a mut dyn Tensors,
}

/// One of the two stacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Encoder,
    Decoder,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Encoder => "encoder",
            Side::Decoder => "decoder",
        }
    }
}

impl Builder<'_> {
    pub fn build(mut self, max_source: usize, max_target: usize) -> Result<Seq2Seq, ModelError> {
        let config = self.config;
        let (vocabulary, width) = (config.vocab_size, config.d_model);
        let shape = Seq2SeqShape {
            width,
            heads: config.num_heads,
            head_dim: config.d_kv,
            inner: config.d_ff,
            vocab: vocabulary,
            // Checked when the configuration was read.
            activation: config.activation().unwrap_or_default(),
            buckets: config.relative_attention_num_buckets,
            max_distance: config.relative_attention_max_distance,
            max_source,
            max_target,
        };
        let parts = Seq2SeqParts {
            shape,
            tokens: self.linear(&[WORDS], vocabulary, width, Rule::Small)?,
            encoder: self.stack(Side::Encoder, config.num_layers)?,
            decoder: self.stack(Side::Decoder, config.decoder_layers())?,
            head: match self.tensors.has(HEAD) {
                true => Some(self.linear(&[HEAD], vocabulary, width, Rule::Small)?),
                false => None,
            },
        };
        Ok(Seq2Seq::new(self.isa, parts)?)
    }

    fn stack(&mut self, side: Side, layers: usize) -> Result<Stack, ModelError> {
        let (config, name) = (self.config, side.name());
        let layers = (0..layers).map(|index| self.layer(side, index));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let table = format!("{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        let buckets = config.relative_attention_num_buckets;
        let mut norm = self.norm(&format!("{name}.final_layer_norm"))?;
        if side == Side::Decoder {
            norm.iter_mut()
                .for_each(|gain| *gain *= config.output_scale());
        }
        Ok(Stack {
            layers,
            biases: self.tensors.exact(&table, buckets, config.num_heads)?,
            output_norm: RmsNorm::new(norm, config.layer_norm_epsilon)?,
        })
    }

    fn layer(&mut self, side: Side, index: usize) -> Result<Seq2SeqLayer, ModelError> {
        let config = self.config;
        let (width, attended) = (config.d_model, config.attended());
        let at = format!("{}.block.{index}.layer", side.name());
        let own = |part: &str| format!("{at}.0.SelfAttention.{part}.weight");
        let qkv = [own("q"), own("k"), own("v")];
        let attention = SelfAttention {
            norm: self.rms_norm(&format!("{at}.0.layer_norm"))?,
            project: self.linear(
                &qkv.each_ref().map(String::as_str),
                attended,
                width,
                Rule::Small,
            )?,
            output: self.linear(&[&own("o")], width, attended, Rule::Small)?,
        };
        let cross = match side {
            Side::Encoder => None,
            Side::Decoder => Some(self.cross(&format!("{at}.1"))?),
        };
        let last = match side {
            Side::Encoder => 1,
            Side::Decoder => 2,
        };
        Ok(Seq2SeqLayer {
            attention,
            cross,
            feed_forward: self.feed_forward(&format!("{at}.{last}"))?,
        })
    }

    fn cross(&mut self, at: &str) -> Result<CrossAttention, ModelError> {
        let (width, attended) = (self.config.d_model, self.config.attended());
        let name = |part: &str| format!("{at}.EncDecAttention.{part}.weight");
        let (keys, values) = (name("k"), name("v"));
        Ok(CrossAttention {
            norm: self.rms_norm(&format!("{at}.layer_norm"))?,
            queries: self.linear(&[&name("q")], attended, width, Rule::Small)?,
            source: self.linear(&[&keys, &values], attended, width, Rule::Small)?,
            output: self.linear(&[&name("o")], width, attended, Rule::Small)?,
        })
    }

    fn feed_forward(&mut self, at: &str) -> Result<FeedForward, ModelError> {
        let (width, inner) = (self.config.d_model, self.config.d_ff);
        let name = |part: &str| format!("{at}.DenseReluDense.{part}.weight");
        let (gate, up) = match self.config.is_gated() {
            true => (Some(name("wi_0")), name("wi_1")),
            false => (None, name("wi")),
        };
        let gate = gate.map(|gate| self.linear(&[&gate], inner, width, Rule::Small));
        Ok(FeedForward {
            norm: self.rms_norm(&format!("{at}.layer_norm"))?,
            gate: gate.transpose()?,
            up: self.linear(&[&up], inner, width, Rule::Small)?,
            down: self.linear(&[&name("wo")], width, inner, Rule::Finer)?,
        })
    }

    /// Matrices of one shape, one under the other, as one layer. A quantized model may hold some of
    /// them finer than others: all are then brought to the finest.
    fn linear(
        &mut self,
        names: &[&str],
        rows: usize,
        cols: usize,
        rule: Rule,
    ) -> Result<BlockLinear, ModelError> {
        let mut parts = Vec::with_capacity(names.len());
        for name in names {
            parts.push(self.tensors.matrix(name, rows, cols, rule)?);
        }
        let Raw { kind, bytes } = join(parts, rows, cols)?;
        let weights = RawWeights {
            kind,
            rows: rows * names.len(),
            cols,
            bytes: &bytes,
        };
        Ok(BlockLinear::pack(self.isa, &weights, None)?)
    }

    fn norm(&mut self, name: &str) -> Result<Vec<f32>, ModelError> {
        self.tensors
            .vector(&format!("{name}.weight"), self.config.d_model)
    }

    fn rms_norm(&mut self, name: &str) -> Result<RmsNorm, ModelError> {
        Ok(RmsNorm::new(
            self.norm(name)?,
            self.config.layer_norm_epsilon,
        )?)
    }
}

/// Joins matrices; in f32 if they are not all of one kind.
fn join(mut parts: Vec<Raw>, rows: usize, cols: usize) -> Result<Raw, ModelError> {
    let alike = parts.windows(2).all(|pair| pair[0].kind == pair[1].kind);
    if !alike {
        for part in &mut parts {
            let weights = RawWeights {
                kind: part.kind,
                rows,
                cols,
                bytes: &part.bytes,
            };
            let mut values = vec![0.0; rows * cols];
            for (row, out) in values.chunks_exact_mut(cols).enumerate() {
                weights.dequantize_row(row, out)?;
            }
            *part = super::tensors::encode(tidegate_kernels::BlockType::F32, &values)?;
        }
    }
    let kind = parts[0].kind;
    let bytes = parts.into_iter().flat_map(|part| part.bytes).collect();
    Ok(Raw { kind, bytes })
}
