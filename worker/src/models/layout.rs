//! What the files of a sentence-transformers directory say about pooling, normalisation, prompts
//! and length. What a file leaves out is taken as sentence-transformers takes it, so that vectors
//! equal its own. One thing is not done: white space around a text is not cut off.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;
use tidegate_kernels::Pooling;
use tracing::warn;

use super::ModelError;
use super::families::or_default;
use super::files::Files;
use super::pooling::PoolingConfig;
use super::tokenizer::Casing;
use super::weights::Weights;

pub const TOKENIZER_FILE: &str = "tokenizer.json";
pub const WEIGHTS_FILE: &str = "model.safetensors";

const MODULES_FILE: &str = "modules.json";

/// The names that sentence-transformers has used for one file, in the order in which it looks.
pub const SENTENCE_CONFIGS: [&str; 5] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
];

/// How a text is read and what becomes of its tokens' vectors.
#[derive(Debug)]
pub struct Layout {
    pub pooling: Pooling,
    /// Folders of the Dense modules, in their order.
    pub dense: Vec<String>,
    pub scaling: Scaling,
    pub prompts: Prompts,
    pub casing: Casing,
    /// `max_seq_length` of sentence_bert_config.json.
    max_seq_length: Option<usize>,
    /// The file that it was read of, if there is one.
    sentence_config: String,
}

/// Whether vectors are brought to length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    Unit,
    None,
}

/// Texts that are put in front of others, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Prompts {
    #[serde(default, deserialize_with = "or_default")]
    prompts: BTreeMap<String, String>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl Prompts {
    /// Whether one of them is put before texts.
    fn any(&self) -> bool {
        self.prompts.values().any(|prompt| !prompt.is_empty())
    }

    /// The prompt that a request asks for by name, or the default one; an error that names those
    /// there are.
    pub fn named(&self, asked: Option<&str>) -> Result<&str, String> {
        let Some(name) = asked.or(self.default_prompt_name.as_deref()) else {
            return Ok("");
        };
        self.prompts.get(name).map(String::as_str).ok_or_else(|| {
            let known: Vec<_> = self.prompts.keys().collect();
            format!("there is no prompt \"{name}\"; the model has {known:?}")
        })
    }
}

#[derive(Deserialize)]
struct ModuleEntry {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
struct TokenizerConfig {
    /// Some tokenizers write 1e30 for "no limit".
    model_max_length: Option<f64>,
}

impl Layout {
    /// The longest text in tokens, special ones included, of a model that reads at most `longest`:
    /// `max_seq_length`, else the lesser of the tokenizer's and the model's own.
    pub fn max_tokens(&self, files: &Files, longest: usize) -> Result<usize, ModelError> {
        let stated = match self.max_seq_length {
            Some(0) => {
                let problem = "max_seq_length is 0; expected a number of tokens, or null";
                return Err(files.invalid(&self.sentence_config, problem));
            }
            Some(stated) => stated,
            None => {
                let config: Option<TokenizerConfig> = files.json("tokenizer_config.json")?;
                let stated = config.unwrap_or_default().model_max_length;
                stated.map_or(longest, |length| length as usize)
            }
        };
        Ok(stated.clamp(1, longest))
    }
}

/// Reads the description of an embedding model.
pub fn read(files: &Files) -> Result<Layout, ModelError> {
    let mut layout = plain(files)?;
    layout.prompts = files
        .json("config_sentence_transformers.json")?
        .unwrap_or_default();
    if let Err(problem) = layout.prompts.named(None) {
        return Err(files.invalid("config_sentence_transformers.json", problem));
    }
    let Some(modules) = files.json::<Vec<ModuleEntry>>(MODULES_FILE)? else {
        warn!("there is no modules.json: vectors are the mean of the tokens, not normalised");
        return Ok(layout);
    };
    if modules.is_empty() {
        return Err(files.invalid(MODULES_FILE, "it names no module; expected a Transformer"));
    }
    for module in modules {
        let kind = module.kind.rsplit('.').next();
        if matches!(kind, Some("Pooling" | "Dense")) && !is_folder(&module.path) {
            let problem = format!("\"{}\" is not a folder of the model", module.path);
            return Err(files.invalid(MODULES_FILE, problem));
        }
        match module.kind.rsplit('.').next() {
            Some("Transformer") if module.path.is_empty() => {}
            Some("Transformer") => {
                return Err(elsewhere(files, &module.path));
            }
            Some("Pooling") => {
                let name = format!("{}/config.json", module.path);
                let config: PoolingConfig = files.need_json(&name)?;
                if config.leaves_prompts_out() && layout.prompts.any() {
                    let problem =
                        "include_prompt = false is not supported for a model with prompts";
                    return Err(files.invalid(&name, problem));
                }
                layout.pooling = config
                    .pooling()
                    .map_err(|problem| files.invalid(&name, problem))?;
            }
            Some("Dense") if layout.scaling == Scaling::None => layout.dense.push(module.path),
            Some("Dense") => {
                let problem = "a Dense module after a Normalize module is not supported";
                return Err(files.invalid(MODULES_FILE, problem));
            }
            Some("Normalize") => layout.scaling = Scaling::Unit,
            // Does nothing but in training.
            Some("Dropout") => {}
            _ => {
                let problem = format!(
                    "module type \"{}\" is not supported; expected Transformer, Pooling, Dense, Normalize or Dropout",
                    module.kind
                );
                return Err(files.invalid(MODULES_FILE, problem));
            }
        }
    }
    Ok(layout)
}

/// What is known without modules.json, where a classification head reads what is pooled so.
pub fn read_classifier(files: &Files, pooling: Pooling) -> Result<Layout, ModelError> {
    Ok(Layout {
        pooling,
        ..plain(files)?
    })
}

fn plain(files: &Files) -> Result<Layout, ModelError> {
    let (mut sentence, mut file) = (SentenceConfig::default(), "");
    for name in SENTENCE_CONFIGS {
        if let Some(config) = files.json(name)? {
            (sentence, file) = (config, name);
            break;
        }
    }
    Ok(Layout {
        pooling: Pooling::Mean,
        dense: Vec::new(),
        scaling: Scaling::None,
        prompts: Prompts::default(),
        casing: match sentence.do_lower_case {
            true => Casing::Lower,
            false => Casing::Keep,
        },
        max_seq_length: sentence.max_seq_length,
        sentence_config: file.to_owned(),
    })
}

/// Whether a path leads to something inside the model.
fn is_folder(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Refuses a directory whose transformer lies in a folder of its own, as old versions of
/// sentence-transformers wrote it.
pub fn check_place(files: &Files) -> Result<(), ModelError> {
    let modules = files.json::<Vec<ModuleEntry>>(MODULES_FILE)?;
    let transformer = modules
        .into_iter()
        .flatten()
        .find(|module| module.kind.rsplit('.').next() == Some("Transformer"));
    match transformer.filter(|module| !module.path.is_empty()) {
        Some(module) => Err(elsewhere(files, &module.path)),
        None => Ok(()),
    }
}

fn elsewhere(files: &Files, path: &str) -> ModelError {
    let problem = format!(
        "the transformer is in \"{path}\"; expected it beside modules.json: move the files of \
         {path}/ there and set its path to \"\""
    );
    files.invalid(MODULES_FILE, problem)
}

/// What to say where a directory has no tokenizer.json.
pub fn other_tokenizer(files: &Files) -> &'static str {
    let slow = [
        "vocab.txt",
        "vocab.json",
        "sentencepiece.bpe.model",
        "spiece.model",
    ];
    match slow.iter().any(|name| files.path(name).is_file()) {
        true => {
            "a slow tokenizer's files (vocab.txt and the like) have to be converted: \
             `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` writes tokenizer.json"
        }
        false => super::files::WHAT_A_DIRECTORY_HOLDS,
    }
}

/// The weights of a directory, which have to be there.
pub fn need_weights(files: &Files) -> Result<Weights, ModelError> {
    Weights::of_directory(files)?.ok_or_else(|| ModelError::Missing {
        file: files.path(WEIGHTS_FILE),
        hint: other_weights(files),
    })
}

/// What to say where a directory has no weights that can be loaded.
fn other_weights(files: &Files) -> &'static str {
    let is_there = |name: &str| files.path(name).is_file();
    if is_there("pytorch_model.bin") || is_there("pytorch_model.bin.index.json") {
        "pytorch_model.bin cannot be loaded; convert it to safetensors: \
         `AutoModel.from_pretrained(DIR).save_pretrained(DIR)` writes it"
    } else if is_there("adapter_config.json") {
        "this is an adapter (LoRA), no model; merge it into its model: PEFT's \
         `merge_and_unload()`, then `save_pretrained(DIR)`"
    } else {
        super::files::WHAT_A_DIRECTORY_HOLDS
    }
}
