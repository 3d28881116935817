//! Decoders: models that answer token by token, from a GGUF file or a directory.
//!
//! [`open`] reads all but the weights: what the model is, its tokens, its chat template.
//! [`Opened::load`] reads the weights tensor by tensor into the network; none is kept as it was.

mod build;
mod config;
mod directory;
mod file;
mod package;
mod rope;

use std::path::Path;

use tidegate_generation::{ChatTemplate, Tokenizer};
use tidegate_gguf::Value;
use tidegate_kernels::{BlockType, Decoder, KvShape, RawWeights};

use super::{ModelError, Package};
use config::Config;
pub use config::Family;
use directory::Directory;
use file::File;
pub use package::{PROVENANCE, Planned, is_own, record, write};

/// A decoder whose small parts are read and whose weights are not.
pub struct Opened {
    source: Box<dyn Tensors>,
    config: Config,
    pub tokenizer: Tokenizer,
    /// None for a model that was not trained on conversations.
    pub template: Option<ChatTemplate>,
    /// Bytes of the weights' files.
    pub file_bytes: u64,
    /// Of a file that `quantize` wrote.
    pub package: Option<Package>,
}

/// A tensor as it is stored.
pub struct Raw {
    pub kind: BlockType,
    pub rows: usize,
    pub cols: usize,
    pub bytes: Vec<u8>,
}

impl Raw {
    fn weights(&self) -> RawWeights<'_> {
        RawWeights {
            kind: self.kind,
            rows: self.rows,
            cols: self.cols,
            bytes: &self.bytes,
        }
    }

    /// What it stands for.
    pub fn floats(&self) -> Result<Vec<f32>, ModelError> {
        let weights = self.weights();
        let mut values = vec![0.0; self.rows * self.cols];
        for (row, out) in values.chunks_exact_mut(self.cols.max(1)).enumerate() {
            weights.dequantize_row(row, out)?;
        }
        Ok(values)
    }
}

/// Weights by the names that GGUF files give them.
pub trait Tensors: Send {
    /// What the tensor is; None if there is none of this name.
    fn shape(&self, name: &str) -> Option<(BlockType, usize, usize)>;

    fn read(&self, name: &str) -> Result<Raw, ModelError>;

    fn invalid(&self, problem: String) -> ModelError;

    /// Of all weights, as they are stored.
    fn sha256(&self) -> Result<String, ModelError>;

    /// All tensors that a model of this kind may need, and that are there.
    fn names(&self, config: &Config) -> Vec<String>;

    /// What a GGUF file of this model says besides its tensors.
    fn attributes(&self, config: &Config) -> Result<Vec<(String, Value)>, ModelError>;
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

    /// The type of most weights.
    pub fn precision(&self) -> &'static str {
        self.kinds().last().map_or("unknown", BlockType::name)
    }

    /// The hash of the weights, or of those that they were made from.
    pub fn origin_sha256(&self) -> Result<String, ModelError> {
        match &self.package {
            Some(package) => Ok(package.provenance.source_sha256.clone()),
            None => self.source.sha256(),
        }
    }

    /// Whether its largest matrices are in blocks of few bits.
    pub fn is_quantized(&self) -> bool {
        self.kinds().any(|kind| kind.block_len() > 1)
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.source.names(&self.config)
    }

    pub fn tensor(&self, name: &str) -> Result<Raw, ModelError> {
        self.source.read(name)
    }

    pub fn attributes(&self) -> Result<Vec<(String, Value)>, ModelError> {
        self.source.attributes(&self.config)
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
