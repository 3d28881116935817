//! config.json of T5 and mT5.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tidegate_kernels::Activation;

use super::Marks;

/// The values of `model_type` that are known.
pub const KINDS: [&str; 2] = ["t5", "mt5"];

/// The most of anything that a size may be: above it products could leave their type.
const MOST: usize = 1 << 24;

/// config.json, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    pub model_type: String,
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    /// As many as the encoder has when absent.
    pub num_decoder_layers: Option<usize>,
    pub num_heads: usize,
    #[serde(default = "buckets")]
    pub relative_attention_num_buckets: usize,
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    #[serde(default = "eps")]
    pub layer_norm_epsilon: f32,
    #[serde(default = "relu")]
    feed_forward_proj: String,
    tie_word_embeddings: Option<bool>,
    scale_decoder_outputs: Option<bool>,
    #[serde(default)]
    decoder_start_token_id: Option<u32>,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default)]
    eos_token_id: Option<Ends>,
    #[serde(default)]
    pub n_positions: Option<usize>,
    #[serde(default)]
    pub task_specific_params: Option<BTreeMap<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Ends {
    One(u32),
    Several(Vec<u32>),
}

fn buckets() -> usize {
    32
}

fn max_distance() -> usize {
    128
}

fn eps() -> f32 {
    1e-6
}

fn relu() -> String {
    "relu".to_owned()
}

impl Config {
    pub fn check(&self) -> Result<(), String> {
        if !KINDS.contains(&self.model_type.as_str()) {
            return Err(format!(
                "model_type \"{}\" is not one of {}",
                self.model_type,
                KINDS.join(", ")
            ));
        }
        for (name, size) in [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_decoder_layers", self.decoder_layers()),
            ("num_heads", self.num_heads),
            (
                "relative_attention_num_buckets",
                self.relative_attention_num_buckets,
            ),
            (
                "relative_attention_max_distance",
                self.relative_attention_max_distance,
            ),
        ] {
            if size == 0 || size > MOST {
                return Err(format!("{name} is {size}; expected 1 to {MOST}"));
            }
        }
        self.activation()?;
        if self.layer_norm_epsilon.is_nan() || self.layer_norm_epsilon < 0.0 {
            return Err(format!("layer_norm_epsilon is {}", self.layer_norm_epsilon));
        }
        let marks = self.marks();
        for mark in marks.ends.iter().chain([&marks.start]) {
            if *mark as usize >= self.vocab_size {
                let size = self.vocab_size;
                return Err(format!("token {mark} is none of the {size} of vocab_size"));
            }
        }
        Ok(())
    }

    pub fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// Queries, keys or values of one row.
    pub fn attended(&self) -> usize {
        self.num_heads * self.d_kv
    }

    pub fn is_gated(&self) -> bool {
        self.feed_forward_proj.starts_with("gated-")
    }

    pub fn activation(&self) -> Result<Activation, String> {
        let name = self.feed_forward_proj.as_str();
        // Of a gate "gelu" has always meant the tanh form.
        match (self.is_gated(), name.trim_start_matches("gated-")) {
            (_, "relu") => Ok(Activation::Relu),
            (_, "silu" | "swish") => Ok(Activation::Silu),
            (true, "gelu") | (_, "gelu_new") => Ok(Activation::GeluTanh),
            (false, "gelu") => Ok(Activation::Gelu),
            _ => Err(format!(
                "feed_forward_proj \"{name}\" is not supported; expected relu, gelu, silu or gelu_new, or one of them after \"gated-\""
            )),
        }
    }

    /// What the decoder's last rows are multiplied with before the head: only T5's first version
    /// does that, and a file that ties the head is one of it unless it says otherwise.
    pub fn output_scale(&self) -> f32 {
        let first = self.model_type == "t5" && self.tie_word_embeddings != Some(false);
        match self.scale_decoder_outputs.unwrap_or(first) {
            true => (self.d_model as f32).powf(-0.5),
            false => 1.0,
        }
    }

    pub fn marks(&self) -> Marks {
        let pad = self.pad_token_id.unwrap_or(0);
        Marks {
            start: self.decoder_start_token_id.unwrap_or(pad),
            ends: match &self.eos_token_id {
                None => vec![1],
                Some(Ends::One(end)) => vec![*end],
                Some(Ends::Several(ends)) => ends.clone(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let json = format!(
            r#"{{"model_type": "t5", "vocab_size": 100, "d_model": 64, "d_kv": 16, "d_ff": 96,
                "num_layers": 2, "num_heads": 4 {more}}}"#
        );
        serde_json::from_str(&json).expect("valid")
    }

    #[test]
    fn what_a_file_leaves_out_is_as_in_t5() {
        let plain = config("");
        plain.check().expect("valid");
        assert_eq!(plain.decoder_layers(), 2);
        assert_eq!(plain.activation(), Ok(Activation::Relu));
        assert_eq!(plain.output_scale(), 0.125);
        assert_eq!(plain.marks().ends, [1]);
        let newer = config(r#", "tie_word_embeddings": false, "feed_forward_proj": "gated-gelu""#);
        assert_eq!(newer.output_scale(), 1.0);
        assert_eq!(newer.activation(), Ok(Activation::GeluTanh));
        assert!(newer.is_gated());
    }

    #[test]
    fn sizes_and_tokens_outside_are_refused() {
        for more in [
            r#", "num_decoder_layers": 0"#,
            r#", "eos_token_id": 100"#,
            r#", "feed_forward_proj": "gated-tanh""#,
            r#", "relative_attention_num_buckets": 0"#,
        ] {
            assert!(config(more).check().is_err(), "{more}");
        }
    }
}
