//! Decoders: models that answer token by token, from a GGUF file or a directory.
//!
//! [`open`] reads all but the weights: what the model is, its tokens, its chat template.
//! [`Opened::load`] reads the weights tensor by tensor into the network; none is kept as it was.

mod build;
mod config;
mod directory;
mod file;
mod rope;

use std::path::Path;

use tidegate_generation::{ChatTemplate, Tokenizer};
use tidegate_kernels::{BlockType, Decoder, KvShape};

use super::ModelError;
use config::Config;
pub use config::Family;
use directory::Directory;
use file::File;

/// A decoder whose small parts are read and whose weights are not.
pub struct Opened {
    source: Box<dyn Tensors>,
    config: Config,
    pub tokenizer: Tokenizer,
    /// None for a model that was not trained on conversations.
    pub template: Option<ChatTemplate>,
    /// Bytes of the weights' files.
    pub file_bytes: u64,
}

/// A tensor as it is stored.
pub struct Raw {
    pub kind: BlockType,
    pub rows: usize,
    pub cols: usize,
    pub bytes: Vec<u8>,
}

/// Weights by the names that GGUF files give them.
pub trait Tensors: Send {
    /// What the tensor is; None if there is none of this name.
    fn shape(&self, name: &str) -> Option<(BlockType, usize, usize)>;

    fn read(&self, name: &str) -> Result<Raw, ModelError>;

    fn invalid(&self, problem: String) -> ModelError;
}

/// Whether a path is a decoder, as far as its name and small files tell.
pub fn is_decoder(path: &Path) -> bool {
    file::is_gguf(path) || directory::is_decoder(path)
}

pub fn open(path: &Path) -> Result<Opened, ModelError> {
    match file::is_gguf(path) {
        true => File::open(path)?.opened(),
        false => Directory::open(path)?.opened(),
    }
}

impl Opened {
    pub fn load(&self, context: usize) -> Result<Decoder, ModelError> {
        build::decoder(&self.config, context, &*self.source)
    }

    /// The types of the largest matrices.
    pub fn kinds(&self) -> impl Iterator<Item = BlockType> + '_ {
        let names = ["token_embd.weight", "blk.0.ffn_down.weight"];
        let shapes = names.into_iter().filter_map(|name| self.source.shape(name));
        shapes.map(|(kind, _, _)| kind)
    }

    pub fn family(&self) -> Family {
        self.config.family
    }

    /// The longest sequence that the model was trained for.
    pub fn context(&self) -> usize {
        self.config.context
    }

    /// What a cache of this model's keys and values holds for each token.
    pub fn kv_shape(&self) -> KvShape {
        KvShape {
            layers: self.config.layers,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
        }
    }

    pub fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    /// Hidden width, queries' width, inner width.
    pub fn widths(&self) -> (usize, usize, usize) {
        let config = &self.config;
        (config.width, config.heads * config.head_dim, config.inner)
    }
}
