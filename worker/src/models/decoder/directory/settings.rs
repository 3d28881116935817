//! What config.json, generation_config.json and the tokenizer's configuration say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use tidegate_generation::Named;
use tidegate_kernels::RopePairs;

use super::{CONFIG, Directory};
use crate::models::ModelError;
use crate::models::decoder::config::{Config, Family};
use crate::models::decoder::rope::{Scaling, long_magnitude};

#[derive(Deserialize)]
pub struct RawConfig {
    #[serde(default)]
    pub model_type: String,
    #[serde(default)]
    pub architectures: Vec<String>,
    num_hidden_layers: Option<usize>,
    hidden_size: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    rope_theta: Option<f32>,
    rope_local_base_freq: Option<f32>,
    rope_scaling: Option<BTreeMap<String, Json>>,
    rope_parameters: Option<BTreeMap<String, Json>>,
    partial_rotary_factor: Option<f32>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    query_pre_attn_scalar: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<Json>,
}

impl Directory {
    pub fn config(&self) -> Result<Config, ModelError> {
        let raw = &self.config;
        let need = |name: &str, value: Option<usize>| {
            value.ok_or_else(|| self.files.invalid(CONFIG, format!("{name} is missing")))
        };
        let width = need("hidden_size", raw.hidden_size)?;
        let heads = need("num_attention_heads", raw.num_attention_heads)?;
        let head_dim = raw.head_dim.or(width.checked_div(heads)).unwrap_or(0);
        let context = need("max_position_embeddings", raw.max_position_embeddings)?;
        let gemma = self.family == Family::Gemma3;
        let window = raw.sliding_window.filter(|_| match self.family {
            Family::Qwen2 | Family::Qwen3 => raw.use_sliding_window == Some(true),
            _ => true,
        });
        let partial = raw.partial_rotary_factor.unwrap_or(1.0);
        // Gemma's newer files have one entry for each kind of layer.
        let parameters = raw.rope_parameters.as_ref();
        let of_layers = |kind: &str| {
            let entry = parameters.and_then(|parameters| parameters.get(kind));
            entry.and_then(Json::as_object).map(|entry| {
                entry
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect::<BTreeMap<_, _>>()
            })
        };
        let (full, local) = (of_layers("full_attention"), of_layers("sliding_attention"));
        let rules = full.as_ref().or(parameters).or(raw.rope_scaling.as_ref());
        let base_of = |rules: Option<&BTreeMap<String, Json>>| {
            let base = rules.and_then(|rules| rules.get("rope_theta"));
            base.and_then(Json::as_f64).map(|base| base as f32)
        };
        let base = base_of(rules).or(raw.rope_theta);
        Ok(Config {
            family: self.family,
            layers: need("num_hidden_layers", raw.num_hidden_layers)?,
            width,
            heads,
            kv_heads: raw.num_key_value_heads.unwrap_or(heads),
            head_dim,
            inner: need("intermediate_size", raw.intermediate_size)?,
            vocabulary: need("vocab_size", raw.vocab_size)?,
            context,
            eps: raw.rms_norm_eps.unwrap_or(1e-6),
            pairs: RopePairs::Halves,
            rope_dims: (head_dim as f32 * partial) as usize,
            rope_base: base.unwrap_or(if gemma { 1_000_000.0 } else { 10_000.0 }),
            scaling: self.scaling(rules, context)?,
            local_rope_base: (base_of(local.as_ref()).or(raw.rope_local_base_freq))
                .unwrap_or(10_000.0),
            window,
            query_scalar: raw.query_pre_attn_scalar.filter(|_| gemma),
            attention_softcap: raw.attn_logit_softcapping,
            logit_softcap: raw.final_logit_softcapping,
            norms_from_one: gemma,
            tied: raw.tie_word_embeddings.unwrap_or(gemma),
        })
    }

    pub fn scaling(
        &self,
        rules: Option<&BTreeMap<String, Json>>,
        context: usize,
    ) -> Result<Scaling, ModelError> {
        let Some(rules) = rules else {
            return Ok(Scaling::None);
        };
        let invalid = |problem: String| {
            self.files
                .invalid(CONFIG, format!("rope_scaling: {problem}"))
        };
        let kind = rules.get("rope_type").or(rules.get("type"));
        let kind = kind.and_then(Json::as_str).unwrap_or("default");
        let number = |key: &str| rules.get(key).and_then(Json::as_f64).map(|n| n as f32);
        let need = |key: &str| number(key).ok_or_else(|| invalid(format!("{key} is missing")));
        let original = number("original_max_position_embeddings").map(|tokens| tokens as usize);
        let original = original
            .or(self.config.original_max_position_embeddings)
            .unwrap_or(context);
        let list = |key: &str| -> Result<Vec<f32>, ModelError> {
            let values = rules.get(key).and_then(Json::as_array);
            let values = values.ok_or_else(|| invalid(format!("{key} is missing")))?;
            Ok(values
                .iter()
                .map(|value| value.as_f64().unwrap_or(1.0) as f32)
                .collect())
        };
        match kind {
            "default" | "none" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear {
                factor: need("factor")?,
            }),
            "llama3" => Ok(Scaling::Llama3 {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original,
            }),
            "yarn" => Ok(Scaling::Yarn {
                factor: need("factor")?,
                original,
                magnitude: number("attention_factor"),
            }),
            "longrope" | "su" => Ok(Scaling::Long {
                short: list("short_factor")?,
                long: list("long_factor")?,
                original,
                magnitude: number("attention_factor").unwrap_or_else(|| {
                    let factor = context as f32 / original.max(1) as f32;
                    long_magnitude(factor, original)
                }),
            }),
            other => Err(invalid(format!("{other:?} is not supported"))),
        }
    }

    /// Tokens that an answer ends with.
    pub fn ends(&self) -> Result<Vec<u32>, ModelError> {
        #[derive(Default, Deserialize)]
        struct Generation {
            eos_token_id: Option<Json>,
        }
        let generation: Option<Generation> = self.files.json("generation_config.json")?;
        let stated = generation.unwrap_or_default().eos_token_id;
        let ids = |value: Option<&Json>| match value {
            Some(Json::Array(ids)) => ids.iter().filter_map(Json::as_u64).collect(),
            Some(value) => value.as_u64().into_iter().collect::<Vec<_>>(),
            None => Vec::new(),
        };
        let all = ids(stated.as_ref())
            .into_iter()
            .chain(ids(self.config.eos_token_id.as_ref()));
        Ok(all.filter_map(|id| u32::try_from(id).ok()).collect())
    }

    pub fn said(&self) -> Result<Names, ModelError> {
        let config: Json = self
            .files
            .json("tokenizer_config.json")?
            .unwrap_or_default();
        let text = |key: &str| match config.get(key) {
            Some(Json::String(text)) => Some(text.clone()),
            Some(Json::Object(token)) => token.get("content")?.as_str().map(str::to_owned),
            _ => None,
        };
        let own_file = self.files.read("chat_template.jinja")?;
        let own_file = own_file.and_then(|bytes| String::from_utf8(bytes).ok());
        let listed = config.get("chat_template").and_then(Json::as_array);
        let default = |entry: &&Json| entry.get("name").and_then(Json::as_str) == Some("default");
        let listed = listed.and_then(|entries| entries.iter().find(default));
        let listed = listed.and_then(|entry| entry.get("template")?.as_str().map(str::to_owned));
        Ok(Names {
            named: Named {
                begin: text("bos_token"),
                ends: text("eos_token").into_iter().collect(),
            },
            template: own_file.or(text("chat_template")).or(listed),
        })
    }
}

/// What the tokenizer's configuration says.
pub struct Names {
    pub named: Named,
    pub template: Option<String>,
}
