//! The model file that `quantize` writes: all of a model in one safetensors file.
//!
//! Beside the weights it holds, as tensors of bytes under [`FILES`], the small files of the
//! directory that it was made from, so that one reader serves both. Its attributes are:
//!
//! | key | what |
//! |---|---|
//! | `format` | [`FORMAT`] |
//! | `version` | [`VERSION`] |
//! | `sha256` | of all tensors (names, types, shapes and bytes, in the order of the file) and of `provenance` |
//! | `provenance` | JSON: what it was made from, by what, under which rule |
//! | `quality` | JSON, once `compare --record` has measured it |
//! | `quality_sha256` | of that |

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use safetensors::{Dtype, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ModelError;
use super::files::Files;
use super::weights::Weights;

const FORMAT: &str = "tidegate-model";

/// Version of the format. Older ones stay readable, newer ones are refused.
const VERSION: u32 = 1;

/// Mode of the file.
const READABLE: u32 = 0o644;

/// In front of the names of small files.
const FILES: &str = "file/";

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Of all tensors and of the provenance.
    pub sha256: String,
    pub provenance: Provenance,
    pub quality: Option<Quality>,
}

/// Where a model file comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The name of the directory it was made from.
    pub source: String,
    /// Of that directory's weights.
    pub source_sha256: String,
    /// Program and version.
    pub made_by: String,
    /// Which tensors were quantized.
    pub rule: String,
}

/// How close a model file is to its reference, as `compare --record` measured it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Of the model file's tensors, so that a record cannot be moved to another file.
    pub model_sha256: String,
    /// Of the reference's weights.
    pub reference_sha256: String,
    /// Of the inputs, each followed by a newline.
    pub inputs_sha256: String,
    pub inputs: usize,
    /// Embedding models: cosine to the reference's vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<Spread>,
    /// Embedding models and rerankers: rank correlation of similarities or scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spearman: Option<f64>,
    /// Classifiers: share of inputs with the same label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// Sequence-to-sequence models: share of texts that are the reference's, letter by letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<f64>,
    /// And how close the others are, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chrf: Option<f64>,
    /// Decoders: perplexity of the inputs over the reference's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity_ratio: Option<f64>,
    /// Mean divergence from the reference's probabilities, in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl_divergence: Option<f64>,
    /// Share of places with the same most likely token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_top: Option<f64>,
    /// Share of greedy tokens before the first that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greedy_agreement: Option<f64>,
}

/// Of one figure over all inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub mean: f64,
    /// 99 % of the inputs are above it.
    pub p1: f64,
    pub min: f64,
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

impl Package {
    /// Reads and verifies the attributes of a model file, and takes its small files out.
    pub fn read(weights: &Weights) -> Result<(Package, Files), ModelError> {
        if weights.attribute("format") != Some(FORMAT) {
            return Err(weights.invalid(
                "it is no model file; expected one written by `tidegate-worker quantize`, or the directory of a model",
            ));
        }
        let version: u32 = attribute(weights, "version")?;
        if version > VERSION {
            return Err(weights.invalid(format!(
                "it is of version {version}, this worker reads up to {VERSION}"
            )));
        }
        let package = Package {
            sha256: text(weights, "sha256")?.to_owned(),
            provenance: attribute(weights, "provenance")?,
            quality: match weights.attribute("quality") {
                Some(_) => Some(attribute(weights, "quality")?),
                None => None,
            },
        };
        let found = seal(weights, text(weights, "provenance")?)?;
        if found != package.sha256 {
            return Err(weights.invalid(format!(
                "it is damaged: it has the SHA-256 {found}, and says {}",
                package.sha256
            )));
        }
        if let Some(quality) = weights.attribute("quality")
            && text(weights, "quality_sha256")? != hex(Sha256::new_with_prefix(quality))
        {
            return Err(weights.invalid("it is damaged: its record of quality was changed"));
        }
        Ok((package, Package::files(weights)?))
    }

    /// The small files of a model file, of which nothing is verified.
    pub fn files(weights: &Weights) -> Result<Files, ModelError> {
        let mut files = BTreeMap::new();
        for name in weights.names() {
            if let Some(file) = name.strip_prefix(FILES) {
                files.insert(file.to_owned(), weights.bytes(&name)?);
            }
        }
        Ok(Files::inside(weights.path(), files))
    }

    /// Writes a model file, whole or not at all.
    pub fn write(
        path: &Path,
        mut tensors: BTreeMap<String, Stored>,
        files: BTreeMap<String, Vec<u8>>,
        provenance: Provenance,
    ) -> Result<Package, ModelError> {
        for (name, bytes) in files {
            let stored = Stored {
                dtype: Dtype::U8,
                shape: vec![bytes.len()],
                bytes,
            };
            tensors.insert(format!("{FILES}{name}"), stored);
        }
        let mut package = Package {
            sha256: String::new(),
            provenance,
            quality: None,
        };
        // The order of the tensors is the format's own, so they are sealed as they were written.
        let draft = path.with_added_extension("draft");
        let written = package.save(&draft, &tensors);
        let sealed = written
            .and_then(|()| Weights::open(&draft))
            .and_then(|weights| seal(&weights, &json(&package.provenance)));
        // One that stays is found by its name.
        let _ = std::fs::remove_file(&draft);
        package.sha256 = sealed?;
        package.save(path, &tensors)?;
        Ok(package)
    }

    /// Writes what a model file holds once more, with a record of its quality.
    pub fn record(weights: &Weights, quality: Quality) -> Result<(), ModelError> {
        let (mut package, _) = Package::read(weights)?;
        package.quality = Some(quality);
        let mut tensors = BTreeMap::new();
        for name in weights.names() {
            if let Some(info) = weights.info(&name) {
                let stored = Stored {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    bytes: weights.bytes(&name)?,
                };
                tensors.insert(name, stored);
            }
        }
        package.save(weights.path(), &tensors)
    }

    fn save(&self, path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<(), ModelError> {
        let mut attributes = HashMap::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("version".to_owned(), VERSION.to_string()),
            ("sha256".to_owned(), self.sha256.clone()),
            ("provenance".to_owned(), json(&self.provenance)),
        ]);
        if let Some(quality) = &self.quality {
            let quality = json(quality);
            let hash = hex(Sha256::new_with_prefix(&quality));
            attributes.insert("quality_sha256".to_owned(), hash);
            attributes.insert("quality".to_owned(), quality);
        }
        let written = safetensors::serialize_to_file(tensors, Some(attributes), path);
        written.map_err(|error| unwritable(path, error))?;
        // It was made for its owner alone, and a model is to be copied and served by others.
        std::fs::set_permissions(path, Permissions::from_mode(READABLE))
            .map_err(|error| unwritable(path, error))
    }
}

fn unwritable(path: &Path, error: impl ToString) -> ModelError {
    ModelError::Unwritable {
        file: path.to_owned(),
        problem: error.to_string(),
    }
}

/// Serializing these plain structures cannot fail.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn text<'a>(weights: &'a Weights, key: &str) -> Result<&'a str, ModelError> {
    let value = weights.attribute(key);
    value.ok_or_else(|| weights.invalid(format!("its attribute \"{key}\" is missing")))
}

fn attribute<T: for<'de> Deserialize<'de>>(weights: &Weights, key: &str) -> Result<T, ModelError> {
    serde_json::from_str(text(weights, key)?)
        .map_err(|error| weights.invalid(format!("its attribute \"{key}\" is invalid: {error}")))
}

/// The hash of all tensors' bytes, in the order of the file.
pub fn sha256(weights: &Weights) -> Result<String, ModelError> {
    let mut hash = Sha256::new();
    weights.each_piece(|piece| hash.update(piece))?;
    Ok(hex(hash))
}

/// The hash of a model file: see [`Package::sha256`].
fn seal(weights: &Weights, provenance: &str) -> Result<String, ModelError> {
    let mut hash = Sha256::new_with_prefix(provenance);
    for name in weights.names() {
        let info = weights.info(&name);
        hash.update(format!(
            "\n{name} {:?}",
            info.map(|info| (info.dtype, &info.shape))
        ));
    }
    weights.each_piece(|piece| hash.update(piece))?;
    Ok(hex(hash))
}

/// The hash's digits.
pub fn hex(hash: Sha256) -> String {
    let digits = hash.finalize();
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}
