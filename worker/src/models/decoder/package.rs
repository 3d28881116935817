//! What a GGUF file that `quantize` wrote says of itself: where it comes from and how close it is to
//! that, sealed as in other model files (see [`crate::models::Package`]).
//!
//! | key | what |
//! |---|---|
//! | `tidegate.sha256` | of all attributes but those of the record, and of all tensors |
//! | `tidegate.provenance` | JSON: what it was made from, by what, under which rule |
//! | `tidegate.quality` | JSON, once `compare --record` has measured it |
//! | `tidegate.quality_sha256` | of that |

use std::io::{BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tidegate_gguf::{ALIGNMENT_KEY, Gguf, Kind, Value, Writer, attribute_bytes};

use super::file::File;
use super::{Raw, Tensors as _};
use crate::models::{ModelError, Package, Provenance, Quality, hex};

pub const PROVENANCE: &str = "tidegate.provenance";
const SEAL: &str = "tidegate.sha256";
const QUALITY: &str = "tidegate.quality";
const QUALITY_SEAL: &str = "tidegate.quality_sha256";

/// A tensor that is to be written.
pub struct Planned {
    pub name: String,
    pub kind: Kind,
    /// The innermost first.
    pub dimensions: Vec<u64>,
}

/// Reads and verifies what a file says of itself; none for one that others wrote.
pub fn read(file: &File, gguf: &Gguf) -> Result<Option<Package>, ModelError> {
    let text = |key: &str| gguf.attribute(key).and_then(Value::as_str);
    let Some(sha256) = text(SEAL) else {
        return Ok(None);
    };
    let damaged = |problem: &str| file.invalid(format!("it is damaged: {problem}"));
    let found = seal(file, gguf)?;
    if found != sha256 {
        return Err(damaged(&format!(
            "it has the SHA-256 {found}, and says {sha256}"
        )));
    }
    let provenance = text(PROVENANCE).and_then(|json| serde_json::from_str(json).ok());
    let provenance: Provenance =
        provenance.ok_or_else(|| damaged("it does not say what it was made from"))?;
    let quality = match text(QUALITY) {
        None => None,
        Some(json) => {
            let sealed = text(QUALITY_SEAL) == Some(&hex(Sha256::new_with_prefix(json)));
            let read = serde_json::from_str(json).ok().filter(|_| sealed);
            let quality: Quality =
                read.ok_or_else(|| damaged("its record of quality was changed"))?;
            Some(quality)
        }
    };
    Ok(Some(Package {
        sha256: sha256.to_owned(),
        provenance,
        quality,
    }))
}

/// Whether an attribute is of the package, not of the model.
pub fn is_own(key: &str) -> bool {
    matches!(key, SEAL | PROVENANCE | QUALITY | QUALITY_SEAL)
}

/// Writes a sealed file, whole or not at all. `data` gives the bytes of a tensor.
pub fn write(
    path: &Path,
    attributes: &[(String, Value)],
    tensors: &[Planned],
    mut data: impl FnMut(&str) -> Result<Vec<u8>, ModelError>,
) -> Result<(), ModelError> {
    let drafts = ["draft", "sealed"].map(|end| path.with_added_extension(end));
    let [draft, sealed] = &drafts;
    let written = save(draft, attributes, tensors, &mut data).and_then(|()| {
        let unsealed = File::open(draft)?;
        let sha256 = seal(&unsealed, unsealed.gguf())?;
        let attributes = [attributes, &[(SEAL.to_owned(), Value::String(sha256))]].concat();
        let read = &mut |name: &str| Ok(unsealed.read(name)?.bytes);
        save(sealed, &attributes, tensors, read)?;
        std::fs::rename(sealed, path).map_err(|error| unwritable(path, &error))
    });
    for draft in &drafts {
        // One that stays is found by its name.
        let _ = std::fs::remove_file(draft);
    }
    written
}

/// Writes what a file holds once more, with a record of its quality.
pub fn record(path: &Path, quality: &Quality) -> Result<(), ModelError> {
    let file = File::open(path)?;
    let mut attributes: Vec<(String, Value)> = (file.gguf().attributes())
        .filter(|(key, _)| !matches!(*key, QUALITY | QUALITY_SEAL))
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    let json = serde_json::to_string(quality).unwrap_or_default();
    let seal = hex(Sha256::new_with_prefix(&json));
    attributes.push((QUALITY.to_owned(), Value::String(json)));
    attributes.push((QUALITY_SEAL.to_owned(), Value::String(seal)));
    let tensors: Vec<Planned> = (file.gguf().tensors())
        .map(|(name, tensor)| Planned {
            name: name.to_owned(),
            kind: tensor.kind,
            dimensions: tensor.dimensions.clone(),
        })
        .collect();
    let draft = path.with_added_extension("draft");
    let read = &mut |name: &str| Ok(file.read(name)?.bytes);
    save(&draft, &attributes, &tensors, read)?;
    std::fs::rename(&draft, path).map_err(|error| unwritable(path, &error))
}

fn save(
    path: &Path,
    attributes: &[(String, Value)],
    tensors: &[Planned],
    data: &mut impl FnMut(&str) -> Result<Vec<u8>, ModelError>,
) -> Result<(), ModelError> {
    let mut writer = Writer::new();
    for (key, value) in attributes {
        // The writer has its own.
        if key != ALIGNMENT_KEY {
            writer.attribute(key, value);
        }
    }
    for tensor in tensors {
        let added = writer.tensor(&tensor.name, tensor.kind, &tensor.dimensions);
        added.map_err(|problem| unwritable(path, &problem))?;
    }
    let file = std::fs::File::create(path).map_err(|error| unwritable(path, &error))?;
    let mut out = BufWriter::new(file);
    let written = writer.write(&mut out, |name| data(name).map_err(Failed::Model));
    written.map_err(|failed| match failed {
        Failed::Model(error) => error,
        Failed::Write(error) => unwritable(path, &error),
    })?;
    out.flush().map_err(|error| unwritable(path, &error))
}

/// What stopped the writing.
enum Failed {
    Model(ModelError),
    Write(std::io::Error),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Failed {
        Failed::Write(error)
    }
}

fn unwritable(path: &Path, problem: &dyn std::fmt::Display) -> ModelError {
    ModelError::Unwritable {
        file: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// The hash of all that a file is, the record of its quality and the seal itself left out.
fn seal(file: &File, gguf: &Gguf) -> Result<String, ModelError> {
    let mut hash = Sha256::new();
    for (key, value) in gguf.attributes() {
        if !matches!(key, SEAL | QUALITY | QUALITY_SEAL) {
            hash.update(attribute_bytes(key, value));
        }
    }
    for (name, tensor) in gguf.tensors() {
        let (kind, shape) = (tensor.kind.name(), &tensor.dimensions);
        hash.update(format!("\n{name} {kind} {shape:?}"));
        let Raw { bytes, .. } = file.read(name)?;
        hash.update(bytes);
    }
    Ok(hex(hash))
}
