//! A decoder in a directory of Hugging Face's layout: config.json, tokenizer.json, safetensors.

mod settings;
mod written;

use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde::Deserialize;
use tidegate_generation::{ChatTemplate, Tokenizer};
use tidegate_gguf::Value;
use tidegate_kernels::BlockType;

use self::settings::RawConfig;
use super::config::{Config, Family, KNOWN};
use super::{Opened, Raw, Tensors};
use crate::models::files::Files;
use crate::models::{ModelError, Weights, layout, sha256};

const CONFIG: &str = "config.json";

pub(super) struct Directory {
    place: PathBuf,
    files: Files,
    config: RawConfig,
    family: Family,
    weights: Weights,
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
        let names = self.said()?;
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
            package: None,
            file_bytes: self.weights.file_bytes(),
            config,
            tokenizer,
            template,
            source: Box::new(self),
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

    fn sha256(&self) -> Result<String, ModelError> {
        sha256(&self.weights)
    }

    fn names(&self, config: &Config) -> Vec<String> {
        let mut names = written::names(config);
        names.retain(|name| self.shape(name).is_some());
        names
    }

    fn attributes(&self, config: &Config) -> Result<Vec<(String, Value)>, ModelError> {
        written::attributes(self, config)
    }
}
