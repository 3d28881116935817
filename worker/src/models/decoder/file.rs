//! A decoder in a GGUF file. The file is read, never mapped: one that is cut while it is read is
//! an error, not a fault.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tidegate_generation::{ChatTemplate, JSON_KEY, Named, Tokenizer};
use tidegate_gguf::{Gguf, Value};
use tidegate_kernels::{BlockType, RopePairs};

use super::config::{Config, Family, KNOWN};
use super::rope::{Scaling, long_magnitude};
use super::{Opened, Raw, Tensors, package};
use crate::models::{ModelError, hex};

const MAGIC: &[u8] = b"GGUF";

/// What the model is, in a file that was made of a directory.
pub(super) const CONFIG: &str = "tidegate.config";

/// The texts of the tokens of beginning and end there, and the ids of all that end an answer.
pub(super) const BEGIN: &str = "tidegate.begin";
pub(super) const END: &str = "tidegate.end";
pub(super) const ENDS: &str = "tidegate.ends";

pub(super) struct File {
    path: PathBuf,
    file: std::fs::File,
    gguf: Gguf,
    bytes: u64,
}

/// Whether a file begins as GGUF files do.
pub(super) fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    path.is_file() && read.is_ok() && magic == MAGIC
}

impl File {
    pub fn open(path: &Path) -> Result<File, ModelError> {
        let unreadable = |error| ModelError::Unreadable {
            file: path.to_owned(),
            error,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let gguf = Gguf::read(&file, bytes).map_err(|error| ModelError::Invalid {
            file: path.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(File {
            path: path.to_owned(),
            file,
            gguf,
            bytes,
        })
    }

    pub fn opened(self) -> Result<Opened, ModelError> {
        let config = self.config()?;
        config.check().map_err(|problem| self.invalid(problem))?;
        let tokenizer = self.tokenizer(config.vocabulary)?;
        let template = self.template(&tokenizer)?;
        Ok(Opened {
            package: package::read(&self, &self.gguf)?,
            file_bytes: self.bytes,
            config,
            tokenizer,
            template,
            source: Box::new(self),
        })
    }

    fn tokenizer(&self, vocabulary: usize) -> Result<Tokenizer, ModelError> {
        let invalid = |error: tidegate_generation::TokenizerError| self.invalid(error.to_string());
        let json = self.gguf.attribute(JSON_KEY).and_then(Value::as_str);
        let Some(json) = json else {
            return Tokenizer::from_gguf(&self.gguf).map_err(invalid);
        };
        let text = |key: &str| {
            let value = self.gguf.attribute(key).and_then(Value::as_str);
            value.map(str::to_owned)
        };
        let named = Named {
            begin: text(BEGIN),
            ends: text(END).into_iter().collect(),
        };
        let tokenizer = Tokenizer::from_json(json.as_bytes(), vocabulary, &named);
        let mut tokenizer = tokenizer.map_err(invalid)?;
        let ends = self.gguf.attribute(ENDS).and_then(Value::as_numbers);
        let ids = ends.iter().flat_map(|ends| ends.iter());
        let ids: Vec<u32> = ids.filter_map(|id| id.as_u64()?.try_into().ok()).collect();
        tokenizer.also_ends(&ids);
        Ok(tokenizer)
    }

    fn template(&self, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>, ModelError> {
        let Some(value) = self.gguf.attribute("tokenizer.chat_template") else {
            return Ok(None);
        };
        let Some(source) = value.as_str() else {
            let problem = format!("tokenizer.chat_template is {}", value.describe());
            return Err(self.invalid(problem));
        };
        let text = |token: Option<u32>| {
            let bytes = token.map(|token| tokenizer.vocabulary().bytes(token));
            String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
        };
        let end = self
            .number("tokenizer.ggml.eos_token_id")
            .map(|id| id as u32);
        let end = end.or(tokenizer.ends().first().copied());
        let parsed = ChatTemplate::parse(source, &text(tokenizer.begin()), &text(end));
        parsed
            .map(Some)
            .map_err(|error| self.invalid(error.to_string()))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.gguf.attribute(key).and_then(Value::as_u64)
    }

    fn float(&self, key: &str) -> Option<f32> {
        let value = self.gguf.attribute(key).and_then(Value::as_f64);
        value.map(|value| value as f32)
    }

    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    fn config(&self) -> Result<Config, ModelError> {
        if let Some(json) = self.gguf.attribute(CONFIG).and_then(Value::as_str) {
            let read = serde_json::from_str(json);
            return read.map_err(|error| self.invalid(format!("{CONFIG}: {error}")));
        }
        let architecture = self.gguf.attribute("general.architecture");
        let architecture = architecture.and_then(Value::as_str).unwrap_or_default();
        let family = Family::named(architecture).ok_or_else(|| {
            self.invalid(format!(
                "architecture {architecture:?} is not supported; these are: {KNOWN}"
            ))
        })?;
        let key = |name: &str| format!("{architecture}.{name}");
        let optional = |name: &str| self.number(&key(name)).map(|number| number as usize);
        let needed = |name: &str| {
            optional(name).ok_or_else(|| self.invalid(format!("{} is missing", key(name))))
        };
        let width = needed("embedding_length")?;
        let heads = needed("attention.head_count")?;
        let head_dim = optional("attention.key_length").or(width.checked_div(heads));
        let head_dim = head_dim.unwrap_or(0);
        let tokens = self.gguf.tensor("token_embd.weight");
        let vocabulary = tokens.map_or(0, |tensor| tensor.rows()) as usize;
        let layers = needed("block_count")?;
        let eps = self.float(&key("attention.layer_norm_rms_epsilon"));
        let window = optional("attention.sliding_window").filter(|&window| window > 0);
        let context = needed("context_length")?;
        let rope_dims = optional("rope.dimension_count").unwrap_or(head_dim);
        Ok(Config {
            family,
            layers,
            width,
            heads,
            kv_heads: optional("attention.head_count_kv").unwrap_or(heads),
            head_dim,
            inner: needed("feed_forward_length")?,
            vocabulary,
            context,
            eps: eps.unwrap_or(1e-5),
            pairs: match family {
                Family::Llama => RopePairs::Adjacent,
                _ => RopePairs::Halves,
            },
            rope_dims,
            rope_base: self.float(&key("rope.freq_base")).unwrap_or(10_000.0),
            scaling: self.scaling(architecture, rope_dims, context)?,
            local_rope_base: self.float(&key("rope.freq_base_swa")).unwrap_or(10_000.0),
            // Files of other families name a window that their models were not trained with.
            window: window.filter(|_| family == Family::Gemma3),
            // The one model of its family whose queries are scaled otherwise: Gemma 3 27B.
            query_scalar: (family == Family::Gemma3 && layers == 62)
                .then_some(width as f32 / heads.max(1) as f32),
            attention_softcap: self.float(&key("attn_logit_softcapping")),
            logit_softcap: self.float(&key("final_logit_softcapping")),
            norms_from_one: false,
            tied: false,
        })
    }

    fn scaling(
        &self,
        architecture: &str,
        dims: usize,
        context: usize,
    ) -> Result<Scaling, ModelError> {
        let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
        let original = self.number(&key("original_context_length"));
        let original = original.map_or(context, |tokens| tokens as usize);
        let factors = |name: &str| match self.shape(name) {
            Some((_, 1, cols)) if cols * 2 == dims => self.factors(name, cols).map(Some),
            Some((_, rows, cols)) => {
                let problem = format!(
                    "tensor {name} has {rows} rows of {cols}; expected {}",
                    dims / 2
                );
                Err(self.invalid(problem))
            }
            None => Ok(None),
        };
        if let (Some(short), Some(long)) = (
            factors("rope_factors_short.weight")?,
            factors("rope_factors_long.weight")?,
        ) {
            let computed = long_magnitude(context as f32 / original.max(1) as f32, original);
            let magnitude = self.float(&key("attn_factor")).unwrap_or(computed);
            return Ok(Scaling::Long {
                short,
                long,
                original,
                magnitude,
            });
        }
        if let Some(factors) = factors("rope_freqs.weight")? {
            return Ok(Scaling::Factors(factors));
        }
        let factor = self.float(&key("factor")).filter(|&factor| factor > 0.0);
        let kind = self.gguf.attribute(&key("type")).and_then(Value::as_str);
        match (kind, factor) {
            (None | Some("none"), None) | (Some("none"), _) => Ok(Scaling::None),
            (Some("linear") | None, Some(factor)) => Ok(Scaling::Linear { factor }),
            (Some("yarn"), Some(factor)) => Ok(Scaling::Yarn {
                factor,
                original,
                magnitude: None,
            }),
            (Some(kind), _) => {
                Err(self.invalid(format!("rotations scaled by {kind:?} are not supported")))
            }
        }
    }

    fn factors(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        let raw = self.read(name)?;
        let floats = raw
            .bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let factors: Vec<f32> = floats.collect();
        match raw.kind == BlockType::F32 && factors.len() == len && factors.iter().all(|f| *f > 0.0)
        {
            true => Ok(factors),
            false => Err(self.invalid(format!("tensor {name} holds no {len} factors in F32"))),
        }
    }
}

impl Tensors for File {
    fn shape(&self, name: &str) -> Option<(BlockType, usize, usize)> {
        let tensor = self.gguf.tensor(name)?;
        let kind = BlockType::from_ggml(tensor.kind.id())?;
        Some((kind, tensor.rows() as usize, tensor.columns() as usize))
    }

    fn read(&self, name: &str) -> Result<Raw, ModelError> {
        let missing = || self.invalid(format!("tensor {name} is missing"));
        let tensor = self.gguf.tensor(name).ok_or_else(missing)?;
        let (kind, rows, cols) = self.shape(name).ok_or_else(missing)?;
        let mut bytes = vec![0; tensor.bytes as usize];
        let read = self.file.read_exact_at(&mut bytes, tensor.offset);
        read.map_err(|error| ModelError::Unreadable {
            file: self.path.clone(),
            error,
        })?;
        Ok(Raw {
            kind,
            rows,
            cols,
            bytes,
        })
    }

    fn invalid(&self, problem: String) -> ModelError {
        ModelError::Invalid {
            file: self.path.clone(),
            problem,
        }
    }

    fn sha256(&self) -> Result<String, ModelError> {
        let mut hash = Sha256::new();
        for (name, _) in self.gguf.tensors() {
            hash.update(name);
            hash.update(self.read(name)?.bytes);
        }
        Ok(hex(hash))
    }

    fn names(&self, _: &Config) -> Vec<String> {
        let names = self.gguf.tensors().map(|(name, _)| name.to_owned());
        names.collect()
    }

    fn attributes(&self, _: &Config) -> Result<Vec<(String, Value)>, ModelError> {
        let attributes = self.gguf.attributes();
        Ok(attributes
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect())
    }
}
