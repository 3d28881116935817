//! A directory's model as a GGUF file has it: which tensors there may be, and what is said besides.

use tidegate_generation::JSON_KEY;
use tidegate_gguf::{Numbers, Scalar, Value};

use super::settings::Names;
use super::{CONFIG, Directory};
use crate::models::ModelError;
use crate::models::decoder::config::Config;
use crate::models::decoder::file;

/// All tensors that a model may have, by the names of GGUF files.
pub fn names(config: &Config) -> Vec<String> {
    let mut names = vec![
        "token_embd.weight".to_owned(),
        "output_norm.weight".to_owned(),
    ];
    if !config.tied {
        names.push("output.weight".to_owned());
    }
    for layer in 0..config.layers {
        for part in PARTS {
            names.extend(["weight", "bias"].map(|kind| format!("blk.{layer}.{part}.{kind}")));
        }
    }
    names
}

pub fn attributes(
    directory: &Directory,
    config: &Config,
) -> Result<Vec<(String, Value)>, ModelError> {
    let Names { named, template } = directory.said()?;
    let text = |key: &str, text: String| (key.to_owned(), Value::String(text));
    let tokenizer = String::from_utf8(directory.files.need("tokenizer.json")?);
    let tokenizer = tokenizer.map_err(|error| directory.files.invalid("tokenizer.json", error))?;
    let config = serde_json::to_string(config);
    let config = config.map_err(|error| directory.files.invalid(CONFIG, error))?;
    let ends = directory.ends()?;
    let ends = Numbers {
        scalar: Scalar::U32,
        bytes: ends.iter().flat_map(|id| id.to_le_bytes()).collect(),
    };
    let mut attributes = vec![
        // Not one that others would take for theirs.
        text("general.architecture", "tidegate".to_owned()),
        text(file::CONFIG, config),
        text(JSON_KEY, tokenizer),
        (file::ENDS.to_owned(), Value::Numbers(ends)),
    ];
    attributes.extend(named.begin.map(|begin| text(file::BEGIN, begin)));
    attributes.extend(
        named
            .ends
            .into_iter()
            .next()
            .map(|end| text(file::END, end)),
    );
    attributes.extend(template.map(|template| text("tokenizer.chat_template", template)));
    Ok(attributes)
}

/// What a layer may have, by the names of GGUF files.
const PARTS: [&str; 14] = [
    "attn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_qkv",
    "attn_output",
    "attn_q_norm",
    "attn_k_norm",
    "post_attention_norm",
    "ffn_norm",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
    "post_ffw_norm",
];
