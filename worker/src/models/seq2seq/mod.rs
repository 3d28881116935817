//! Sequence-to-sequence models: T5, its version 1.1 (as Flan-T5), and mT5, from a directory in
//! Hugging Face's layout or a file written by `quantize`.

mod build;
mod config;
mod prompt;
mod tensors;

use std::path::Path;

use serde::Deserialize;
use tidegate_kernels::{Isa, KvShape, Seq2Seq};

pub use self::prompt::Prompts;
pub use self::tensors::{Raw, Rule, Tensors, encode};
use super::files::Files;
use super::layout::{self, TOKENIZER_FILE};
use super::tokenizer::{Casing, Limits};
use super::{ModelError, Package, TextTokenizer, Weights};
use build::Builder;
use config::Config;
use tensors::Stored;

const CONFIG_FILE: &str = "config.json";

/// A model whose small files are read and whose weights are not.
pub struct Opened {
    pub files: Files,
    pub weights: Weights,
    /// None for a directory.
    pub package: Option<Package>,
    config: Config,
    prompts: Prompts,
}

/// What a loaded model needs besides its network.
pub struct Loaded {
    pub network: Seq2Seq,
    pub tokenizer: TextTokenizer,
    pub prompts: Prompts,
}

/// The tokens that have a meaning of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// What every target begins with.
    pub start: u32,
    /// What ends one.
    pub ends: Vec<u32>,
}

/// Whether `path` names such a model; false for what cannot be read, which loading will tell.
pub fn is_seq2seq(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(default)]
        model_type: String,
    }
    let files = match path.is_dir() {
        true => Files::in_directory(path),
        false => {
            let weights = Weights::open(path);
            // Its small files alone: the seal of a model file is checked where it is loaded.
            match weights.and_then(|weights| Package::files(&weights)) {
                Ok(files) => files,
                Err(_) => return false,
            }
        }
    };
    let kind = files.json::<Kind>(CONFIG_FILE).ok().flatten();
    kind.is_some_and(|kind| config::KINDS.contains(&kind.model_type.as_str()))
}

/// Reads all of a model but its weights.
pub fn open(path: &Path) -> Result<Opened, ModelError> {
    let (files, weights, package) = if path.is_dir() {
        let files = Files::in_directory(path);
        files.need(CONFIG_FILE)?;
        let weights = layout::need_weights(&files)?;
        (files, weights, None)
    } else if path.is_file() {
        let weights = Weights::open(path)?;
        let (package, files) = Package::read(&weights)?;
        (files, weights, Some(package))
    } else {
        return Err(ModelError::NoSuchModel(path.to_owned()));
    };
    let config: Config = files.need_json(CONFIG_FILE)?;
    let checked = config.check();
    checked.map_err(|problem| files.invalid(CONFIG_FILE, problem))?;
    // Of use to `quantize`, which keeps what was read.
    files.read("generation_config.json")?;
    files.read("tokenizer_config.json")?;
    Ok(Opened {
        prompts: Prompts::new(&config.task_specific_params),
        files,
        weights,
        package,
        config,
    })
}

impl Opened {
    /// Packs the weights for sources and targets of up to these many tokens.
    pub fn load(self, max_source: usize, max_target: usize) -> Result<Loaded, ModelError> {
        let tokenizer = self.tokenizer(max_source)?;
        let mut tensors = Stored {
            weights: &self.weights,
            packaged: self.package.is_some(),
        };
        let network = self.network(&mut tensors, max_source, max_target)?;
        Ok(Loaded {
            network,
            tokenizer,
            prompts: self.prompts,
        })
    }

    /// Builds the network from what `tensors` gives.
    pub fn network(
        &self,
        tensors: &mut dyn Tensors,
        max_source: usize,
        max_target: usize,
    ) -> Result<Seq2Seq, ModelError> {
        let builder = Builder {
            config: &self.config,
            isa: Isa::best(),
            tensors,
        };
        builder.build(max_source, max_target)
    }

    pub fn tokenizer(&self, max_source: usize) -> Result<TextTokenizer, ModelError> {
        TextTokenizer::parse(
            &self.files.need(TOKENIZER_FILE)?,
            &self.files.path(TOKENIZER_FILE),
            Limits {
                tokens: max_source,
                vocabulary: self.config.vocab_size,
                // T5 has no token types and ignores what a tokenizer says of them.
                kinds: usize::MAX,
                pairs_alone: false,
            },
            Casing::Keep,
        )
    }

    pub fn marks(&self) -> Marks {
        self.config.marks()
    }

    /// Tokens of the longest source that the model was trained for. Positions are relative, so that
    /// it is no limit of the network.
    pub fn trained_length(&self) -> usize {
        self.config.n_positions.unwrap_or(512)
    }

    /// Bytes of the tensors, as they are stored and about as they are packed.
    pub fn weights_bytes(&self) -> u64 {
        let names = self.weights.names().into_iter();
        let infos = names.filter(|name| !name.starts_with("file/"));
        let infos = infos.filter_map(|name| self.weights.info(&name).cloned());
        let bytes = infos.map(|info| (info.data_offsets.1 - info.data_offsets.0) as u64);
        bytes.sum()
    }

    /// What the decoder keeps of a token.
    pub fn kv_shape(&self) -> KvShape {
        KvShape {
            layers: self.config.decoder_layers(),
            kv_heads: self.config.num_heads,
            head_dim: self.config.d_kv,
        }
    }

    /// Tokens that the head chooses from.
    pub fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    /// Bytes of tokenizer.json; none if it cannot be read, which loading will tell.
    pub fn tokenizer_json_bytes(&self) -> usize {
        let json = self.files.read(TOKENIZER_FILE).ok().flatten();
        json.map_or(0, |json| json.len())
    }
}
