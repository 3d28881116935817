//! The files of a sentence-transformers directory: which there are, and what they say about
//! pooling, normalisation and length. What a file leaves out is taken as sentence-transformers
//! takes it, so that vectors equal its own.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::ModelError;
use super::pooling::{Pooling, PoolingConfig};
use super::tokenizer::Casing;

/// A model directory, read except for its weights and its tokenizer.
#[derive(Debug)]
pub struct Layout {
    /// Where config.json, tokenizer.json and the weights are.
    transformer: PathBuf,
    pub pooling: Pooling,
    pub scaling: Scaling,
    pub casing: Casing,
    /// `max_seq_length` of sentence_bert_config.json.
    max_seq_length: Option<usize>,
}

/// Whether vectors are brought to length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    Unit,
    None,
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
    pub fn config_file(&self) -> PathBuf {
        self.transformer.join("config.json")
    }

    pub fn tokenizer_file(&self) -> PathBuf {
        self.transformer.join("tokenizer.json")
    }

    /// The weights; fails with what was found instead.
    pub fn weights_file(&self) -> Result<PathBuf, ModelError> {
        let file = self.transformer.join("model.safetensors");
        if file.is_file() {
            return Ok(file);
        }
        let hint = if self
            .transformer
            .join("model.safetensors.index.json")
            .is_file()
        {
            "weights split over several files are not supported; join them into this one"
        } else if self.transformer.join("pytorch_model.bin").is_file() {
            "pytorch_model.bin cannot be loaded; convert it to safetensors"
        } else {
            "a model directory holds config.json, tokenizer.json and model.safetensors"
        };
        Err(ModelError::Missing { file, hint })
    }

    /// The longest text in tokens, special ones included, of a model with `max_positions`
    /// positions: `max_seq_length`, else the lesser of the tokenizer's and the model's own.
    pub fn max_tokens(&self, max_positions: usize) -> Result<usize, ModelError> {
        let stated = match self.max_seq_length {
            Some(stated) => stated,
            None => {
                let file = self.transformer.join("tokenizer_config.json");
                let config: TokenizerConfig = read_json_if_there(&file)?.unwrap_or_default();
                config
                    .model_max_length
                    .map_or(max_positions, |length| length as usize)
            }
        };
        Ok(stated.clamp(1, max_positions))
    }
}

/// Reads the directory's description of the model.
pub fn read(directory: &Path) -> Result<Layout, ModelError> {
    let modules_file = directory.join("modules.json");
    let Some(modules) = read_json_if_there::<Vec<ModuleEntry>>(&modules_file)? else {
        warn!(
            directory = %directory.display(),
            "there is no modules.json: vectors are the mean of the tokens, not normalised"
        );
        return describe(directory.to_owned(), Pooling::Mean, Scaling::None);
    };
    let mut transformer = None;
    let mut pooling = None;
    let mut scaling = Scaling::None;
    for module in modules {
        let path = directory.join(&module.path);
        match module.kind.rsplit('.').next() {
            Some("Transformer") => transformer = Some(path),
            Some("Pooling") => pooling = Some(read_pooling(&path.join("config.json"))?),
            Some("Normalize") => scaling = Scaling::Unit,
            _ => {
                return Err(ModelError::Invalid {
                    file: modules_file,
                    problem: format!(
                        "module type \"{}\" is not supported; expected Transformer, Pooling or Normalize",
                        module.kind
                    ),
                });
            }
        }
    }
    describe(
        transformer.unwrap_or_else(|| directory.to_owned()),
        pooling.unwrap_or(Pooling::Mean),
        scaling,
    )
}

fn describe(
    transformer: PathBuf,
    pooling: Pooling,
    scaling: Scaling,
) -> Result<Layout, ModelError> {
    let sentence: SentenceConfig =
        read_json_if_there(&transformer.join("sentence_bert_config.json"))?.unwrap_or_default();
    Ok(Layout {
        transformer,
        pooling,
        scaling,
        casing: if sentence.do_lower_case {
            Casing::Lower
        } else {
            Casing::Keep
        },
        max_seq_length: sentence.max_seq_length,
    })
}

fn read_pooling(file: &Path) -> Result<Pooling, ModelError> {
    let config: PoolingConfig = read_json(file)?;
    config.pooling().map_err(|problem| ModelError::Invalid {
        file: file.to_owned(),
        problem,
    })
}

/// Parses a JSON file that has to be there.
pub fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T, ModelError> {
    read_json_if_there(file)?.ok_or_else(|| ModelError::Missing {
        file: file.to_owned(),
        hint: "a model directory holds config.json, tokenizer.json and model.safetensors",
    })
}

fn read_json_if_there<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, ModelError> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(ModelError::Unreadable {
                file: file.to_owned(),
                error,
            });
        }
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| ModelError::Invalid {
            file: file.to_owned(),
            problem: error.to_string(),
        })
}
