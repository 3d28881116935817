//! What a decoder is, whichever file says it.

use serde::{Deserialize, Serialize};
use tidegate_kernels::{Activation, RopePairs};

use super::rope::Scaling;

/// Decoders that are known, by how they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// Llama, Mistral, SmolLM 2, TinyLlama.
    Llama,
    /// Biases on queries, keys and values.
    Qwen2,
    /// Norms over the heads of queries and keys.
    Qwen3,
    /// Norms behind each branch too; most layers see a window.
    Gemma3,
    /// Fused queries, keys and values; fused gate and up.
    Phi3,
}

/// For messages.
pub const KNOWN: &str = "llama (Mistral, SmolLM2, TinyLlama), qwen2, qwen3, gemma3, phi3";

/// Every this many layers of Gemma 3 one sees all.
const GEMMA_PATTERN: usize = 6;

/// Sizes and constants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    pub family: Family,
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub inner: usize,
    pub vocabulary: usize,
    pub context: usize,
    pub eps: f32,
    #[serde(with = "pairs")]
    pub pairs: RopePairs,
    /// Values of a head that are rotated.
    pub rope_dims: usize,
    pub rope_base: f32,
    pub scaling: Scaling,
    /// Of layers with a window.
    pub local_rope_base: f32,
    pub window: Option<usize>,
    /// Of queries, where it is not the head's width.
    pub query_scalar: Option<f32>,
    pub attention_softcap: Option<f32>,
    pub logit_softcap: Option<f32>,
    /// Norms hold their distance from one.
    pub norms_from_one: bool,
    /// The head is the token table, whatever else is in the file.
    pub tied: bool,
}

impl Family {
    /// By `general.architecture` of a GGUF file, or `model_type` of a config.json.
    pub fn named(name: &str) -> Option<Family> {
        match name {
            "llama" | "mistral" => Some(Family::Llama),
            "qwen2" => Some(Family::Qwen2),
            "qwen3" => Some(Family::Qwen3),
            "gemma3" | "gemma3_text" => Some(Family::Gemma3),
            "phi3" => Some(Family::Phi3),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma3 => "gemma3",
            Family::Phi3 => "phi3",
        }
    }
}

impl Config {
    pub fn activation(&self) -> Activation {
        match self.family {
            Family::Gemma3 => Activation::GeluTanh,
            _ => Activation::Silu,
        }
    }

    pub fn embedding_scale(&self) -> f32 {
        match self.family {
            Family::Gemma3 => (self.width as f32).sqrt(),
            _ => 1.0,
        }
    }

    pub fn attention_scale(&self) -> f32 {
        let scalar = self.query_scalar.unwrap_or(self.head_dim as f32);
        1.0 / scalar.sqrt()
    }

    /// Whether a layer sees a window alone.
    pub fn is_local(&self, layer: usize) -> bool {
        match self.family {
            Family::Gemma3 => !(layer + 1).is_multiple_of(GEMMA_PATTERN),
            _ => true,
        }
    }

    /// Refuses what no network has, before anything is computed from it.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("layers", self.layers, 1024),
            ("width", self.width, 1 << 16),
            ("heads", self.heads, 1024),
            ("key heads", self.kv_heads, 1024),
            ("width of a head", self.head_dim, 1024),
            ("inner width", self.inner, 1 << 18),
            ("tokens", self.vocabulary, 1 << 20),
            ("context", self.context, 1 << 24),
        ];
        for (what, size, most) in sizes {
            if size == 0 || size > most {
                return Err(format!("{what}: {size}; expected 1 to {most}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            return Err(format!("{heads} heads cannot share {kv_heads} key heads"));
        }
        if self.rope_dims > self.head_dim || !self.rope_dims.is_multiple_of(2) {
            let (dims, head) = (self.rope_dims, self.head_dim);
            return Err(format!(
                "{dims} values of a head of {head} cannot be rotated in pairs"
            ));
        }
        if !(self.rope_base.is_finite() && self.rope_base > 1.0) {
            return Err(format!("the base of rotations is {}", self.rope_base));
        }
        if !(self.eps.is_finite() && self.eps >= 0.0) {
            let eps = self.eps;
            return Err(format!(
                "the epsilon of norms is {eps}; expected a number from 0 on"
            ));
        }
        Ok(())
    }
}

/// How pairs are written down.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tidegate_kernels::RopePairs;

    #[derive(Serialize, Deserialize)]
    enum Written {
        Adjacent,
        Halves,
    }

    pub fn serialize<S: Serializer>(pairs: &RopePairs, out: S) -> Result<S::Ok, S::Error> {
        let written = match pairs {
            RopePairs::Adjacent => Written::Adjacent,
            RopePairs::Halves => Written::Halves,
        };
        written.serialize(out)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RopePairs, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Adjacent => RopePairs::Adjacent,
            Written::Halves => RopePairs::Halves,
        })
    }
}
