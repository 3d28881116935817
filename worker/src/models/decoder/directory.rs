//! A decoder in a directory of Hugging Face's layout: config.json, tokenizer.json, safetensors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::Deserialize;
use serde_json::Value;
use tidegate_generation::{ChatTemplate, Named, Tokenizer};
use tidegate_kernels::{BlockType, RopePairs};

use super::config::{Config, Family, KNOWN};
use super::rope::{Scaling, long_magnitude};
use super::{Opened, Raw, Tensors};
use crate::models::files::Files;
use crate::models::{ModelError, Weights, layout};

const CONFIG: &str = "config.json";

pub(super) struct Directory {
    place: PathBuf,
    files: Files,
    config: RawConfig,
    family: Family,
    weights: Weights,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
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
    rope_scaling: Option<BTreeMap<String, Value>>,
    rope_parameters: Option<BTreeMap<String, Value>>,
    partial_rotary_factor: Option<f32>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    query_pre_attn_scalar: Option<f32>,
    attn_logit_softcapping: Option<f32>,
    final_logit_softcapping: Option<f32>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    eos_token_id: Option<Value>,
}

/// Whether a directory says that it holds a decoder.
pub(super) fn is_decoder(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(default)]
        model_type: String,
        #[serde(default)]
        architectures: Vec<String>,
    }
    let files = Files::in_directory(path);
    match files.json::<Kind>(CONFIG) {
        Ok(Some(kind)) => {
            Family::named(&kind.model_type).is_some()
                || kind
                    .architectures
                    .iter()
                    .any(|name| name.ends_with("ForCausalLM"))
        }
        _ => false,
    }
}

impl Directory {
    pub fn open(path: &Path) -> Result<Directory, ModelError> {
        let files = Files::in_directory(path);
        let config: RawConfig = files.need_json(CONFIG)?;
        let Some(family) = Family::named(&config.model_type) else {
            let (kind, names) = (&config.model_type, config.architectures.join(", "));
            let problem =
                format!("model_type {kind:?} ({names}) is not supported; these are: {KNOWN}");
            return Err(files.invalid(CONFIG, problem));
        };
        let weights = layout::need_weights(&files)?;
        Ok(Directory {
            place: path.to_owned(),
            files,
            config,
            family,
            weights,
        })
    }

    pub fn opened(self) -> Result<Opened, ModelError> {
        let config = self.config()?;
        let checked = config.check();
        checked.map_err(|problem| self.files.invalid(CONFIG, problem))?;
        let names = self.names()?;
        let json = self.files.need("tokenizer.json")?;
        let tokenizer = Tokenizer::from_json(&json, config.vocabulary, &names.named);
        let mut tokenizer =
            tokenizer.map_err(|error| self.files.invalid("tokenizer.json", error))?;
        tokenizer.also_ends(&self.ends()?);
        let template = match &names.template {
            None => None,
            Some(source) => {
                let begin = names.named.begin.as_deref().unwrap_or_default();
                let end = names.named.ends.first().map_or("", |end| end);
                let parsed = ChatTemplate::parse(source, begin, end);
                let parsed =
                    parsed.map_err(|error| self.files.invalid("tokenizer_config.json", error))?;
                Some(parsed)
            }
        };
        Ok(Opened {
            file_bytes: self.weights.file_bytes(),
            config,
            tokenizer,
            template,
            source: Box::new(self),
        })
    }

    fn config(&self) -> Result<Config, ModelError> {
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
            entry.and_then(Value::as_object).map(|entry| {
                entry
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect::<BTreeMap<_, _>>()
            })
        };
        let (full, local) = (of_layers("full_attention"), of_layers("sliding_attention"));
        let rules = full.as_ref().or(parameters).or(raw.rope_scaling.as_ref());
        let base_of = |rules: Option<&BTreeMap<String, Value>>| {
            let base = rules.and_then(|rules| rules.get("rope_theta"));
            base.and_then(Value::as_f64).map(|base| base as f32)
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

    fn scaling(
        &self,
        rules: Option<&BTreeMap<String, Value>>,
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
        let kind = kind.and_then(Value::as_str).unwrap_or("default");
        let number = |key: &str| rules.get(key).and_then(Value::as_f64).map(|n| n as f32);
        let need = |key: &str| number(key).ok_or_else(|| invalid(format!("{key} is missing")));
        let original = number("original_max_position_embeddings").map(|tokens| tokens as usize);
        let original = original
            .or(self.config.original_max_position_embeddings)
            .unwrap_or(context);
        let list = |key: &str| -> Result<Vec<f32>, ModelError> {
            let values = rules.get(key).and_then(Value::as_array);
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
    fn ends(&self) -> Result<Vec<u32>, ModelError> {
        #[derive(Default, Deserialize)]
        struct Generation {
            eos_token_id: Option<Value>,
        }
        let generation: Option<Generation> = self.files.json("generation_config.json")?;
        let stated = generation.unwrap_or_default().eos_token_id;
        let ids = |value: Option<&Value>| match value {
            Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
            Some(value) => value.as_u64().into_iter().collect::<Vec<_>>(),
            None => Vec::new(),
        };
        let all = ids(stated.as_ref())
            .into_iter()
            .chain(ids(self.config.eos_token_id.as_ref()));
        Ok(all.filter_map(|id| u32::try_from(id).ok()).collect())
    }

    fn names(&self) -> Result<Names, ModelError> {
        let config: Value = self
            .files
            .json("tokenizer_config.json")?
            .unwrap_or_default();
        let text = |key: &str| match config.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Object(token)) => token.get("content")?.as_str().map(str::to_owned),
            _ => None,
        };
        let own_file = self.files.read("chat_template.jinja")?;
        let own_file = own_file.and_then(|bytes| String::from_utf8(bytes).ok());
        let listed = config.get("chat_template").and_then(Value::as_array);
        let default = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
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

    /// The name that transformers gives a tensor.
    fn name(&self, name: &str) -> String {
        match name {
            "token_embd.weight" => return "model.embed_tokens.weight".to_owned(),
            "output_norm.weight" => return "model.norm.weight".to_owned(),
            "output.weight" => return "lm_head.weight".to_owned(),
            _ => {}
        }
        let layer = name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'));
        let Some((layer, (part, kind))) =
            layer.and_then(|(layer, rest)| Some((layer, rest.rsplit_once('.')?)))
        else {
            return name.to_owned();
        };
        let gemma = self.family == Family::Gemma3;
        let part = match part {
            "attn_norm" => "input_layernorm",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_qkv" => "self_attn.qkv_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "ffn_norm" if gemma => "pre_feedforward_layernorm",
            "ffn_norm" => "post_attention_layernorm",
            "post_attention_norm" if gemma => "post_attention_layernorm",
            "post_ffw_norm" if gemma => "post_feedforward_layernorm",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" if self.family == Family::Phi3 => "mlp.gate_up_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            other => other,
        };
        format!("model.layers.{layer}.{part}.{kind}")
    }
}

/// What the tokenizer's configuration says.
struct Names {
    named: Named,
    template: Option<String>,
}

impl Tensors for Directory {
    fn shape(&self, name: &str) -> Option<(BlockType, usize, usize)> {
        let info = self.weights.info(&self.name(name))?;
        let kind = match info.dtype {
            Dtype::F32 => BlockType::F32,
            Dtype::F16 => BlockType::F16,
            Dtype::BF16 => BlockType::Bf16,
            _ => return None,
        };
        match info.shape[..] {
            [cols] => Some((kind, 1, cols)),
            [rows, cols] => Some((kind, rows, cols)),
            _ => None,
        }
    }

    fn read(&self, name: &str) -> Result<Raw, ModelError> {
        let missing = || {
            self.invalid(format!(
                "tensor {name} is missing, or is no matrix of floats"
            ))
        };
        let (kind, rows, cols) = self.shape(name).ok_or_else(missing)?;
        let bytes = self.weights.bytes(&self.name(name))?;
        Ok(Raw {
            kind,
            rows,
            cols,
            bytes,
        })
    }

    fn invalid(&self, problem: String) -> ModelError {
        ModelError::Invalid {
            file: self.place.clone(),
            problem,
        }
    }
}
