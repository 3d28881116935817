//! Decoders: matrices in blocks of 8 or 4 bits, into a GGUF file.
//!
//! The attributes of a GGUF file go over as they are, so that programs which read the one file read the
//! other. A file that is made of a directory is for this program alone: its architecture says so.

use std::path::Path;

use tidegate_gguf::{Kind, Value};
use tidegate_kernels::BlockType;
use tidegate_process::Progress;

use super::{MOST_ERROR, QuantizeError, Report, Row, TENSORS, Type, error_of, name_of};
use crate::models::decoder::{self, Opened, PROVENANCE, Planned, Raw};
use crate::models::{ModelError, Provenance};

/// The same bound as [`MOST_ERROR`] for 4 bits: values that are spread like a bell curve change by 7 to
/// 9 % where 32 of them share 15 steps.
const MOST_ERROR_OF_FOUR: f64 = 0.2;

/// Attributes that say what the weights of a file are in, and which layout the blocks have.
const FILE_TYPE: &str = "general.file_type";
const LAYOUT: (&str, u64) = ("general.quantization_version", 2);

/// Tables that stay in 8 bits where all else has 4: every token's row is read alone, and the head's
/// errors are in every probability.
const FINER: [&str; 2] = ["token_embd.weight", "output.weight"];

impl Type {
    fn block(self) -> BlockType {
        match self {
            Type::Int8 => BlockType::Q8_0,
            Type::Q4_0 => BlockType::Q4_0,
            Type::Q4_1 => BlockType::Q4_1,
        }
    }

    /// llama.cpp's number of files in which most weights are of this type (`llama_ftype`).
    fn file_type(self) -> u64 {
        match self {
            Type::Q4_0 => 2,
            Type::Q4_1 => 3,
            Type::Int8 => 7,
        }
    }

    /// The rule, as it is printed and kept in the file.
    pub fn rule(self) -> String {
        let (name, most) = (self.block().name(), most_error(self.block()) * 100.0);
        let finer = match self {
            Type::Int8 => "",
            Type::Q4_0 | Type::Q4_1 => "; the token table and the head in Q8_0",
        };
        format!(
            "matrices in {name}, one scale for every 32 weights, except where rounding changes them by more than {most} % or their own type is as small{finer}; biases and norms unchanged"
        )
    }
}

fn most_error(kind: BlockType) -> f64 {
    match kind {
        BlockType::Q8_0 => MOST_ERROR,
        _ => MOST_ERROR_OF_FOUR,
    }
}

pub fn run(model: &Path, out: &Path, wanted: Type) -> Result<Report, QuantizeError> {
    let opened = decoder::open(model)?;
    let names = opened.names();
    let progress = Progress::new(names.len(), TENSORS);
    let mut plan = Plan::default();
    for name in names {
        progress.step(&name);
        plan.add(&name, &opened.tensor(&name)?, wanted)?;
    }
    progress.clear();
    if plan
        .rows
        .iter()
        .all(|row| row.bytes_after == row.bytes_before)
    {
        return Err(QuantizeError::AsSmall {
            path: model.to_owned(),
            kind: opened.precision(),
        });
    }
    let attributes = attributes(&opened, model, wanted)?;
    decoder::write(out, &attributes, &plan.tensors, |name| {
        let planned = plan.tensors.iter().find(|planned| planned.name == name);
        let kind = planned.and_then(|planned| BlockType::from_ggml(planned.kind.id()));
        let raw = opened.tensor(name)?;
        match kind {
            Some(kind) => encoded(&raw, kind),
            None => Ok(raw.bytes),
        }
    })?;
    // Proves that it is complete.
    let written = decoder::open(out)?;
    written.load(1)?;
    Ok(Report {
        rule: wanted.rule(),
        rows: plan.rows,
        exact_tensors: plan.exact_tensors,
        exact_bytes: plan.exact_bytes,
        left_out: Vec::new(),
        bytes_before: opened.file_bytes,
        bytes_after: written.file_bytes,
    })
}

/// What becomes of each tensor.
#[derive(Default)]
struct Plan {
    tensors: Vec<Planned>,
    rows: Vec<Row>,
    exact_tensors: usize,
    exact_bytes: usize,
}

impl Plan {
    fn add(&mut self, name: &str, raw: &Raw, wanted: Type) -> Result<(), ModelError> {
        let is_matrix = raw.rows > 1 && BlockType::Q8_0.row_bytes(raw.cols).is_some();
        let kind = match is_matrix {
            true => self.matrix(name, raw, wanted)?,
            false => {
                self.exact_tensors += 1;
                self.exact_bytes += raw.bytes.len();
                raw.kind
            }
        };
        let mut dimensions = vec![raw.cols as u64];
        if raw.rows > 1 {
            dimensions.push(raw.rows as u64);
        }
        self.tensors.push(Planned {
            name: name.to_owned(),
            // Both lists are GGUF's.
            kind: Kind::from_id(kind.ggml_number()).unwrap_or(Kind::F32),
            dimensions,
        });
        Ok(())
    }

    /// The type that a matrix gets: the first that is smaller than its own and close enough to it.
    fn matrix(&mut self, name: &str, raw: &Raw, wanted: Type) -> Result<BlockType, ModelError> {
        let original = raw.floats()?;
        let mut row = Row {
            tensor: name.to_owned(),
            shape: [raw.rows, raw.cols],
            bytes_before: raw.bytes.len(),
            bytes_after: raw.bytes.len(),
            error: 0.0,
            kept: true,
        };
        let wanted = match FINER.contains(&name) {
            true => BlockType::Q8_0,
            false => wanted.block(),
        };
        let mut chosen = raw.kind;
        for kind in [wanted, BlockType::Q8_0] {
            let bytes = encoded(raw, kind)?;
            if bytes.len() >= raw.bytes.len() {
                continue;
            }
            let bytes_after = bytes.len();
            let restored = Raw {
                kind,
                bytes,
                ..*raw
            };
            row.error = error_of(&original, restored.floats()?);
            if row.error <= most_error(kind) {
                (chosen, row.bytes_after, row.kept) = (kind, bytes_after, false);
                break;
            }
        }
        self.rows.push(row);
        Ok(chosen)
    }
}

/// A tensor in another type, or as it is.
fn encoded(raw: &Raw, kind: BlockType) -> Result<Vec<u8>, ModelError> {
    if kind == raw.kind {
        return Ok(raw.bytes.clone());
    }
    let encoded = kind.encode(&raw.floats()?)?;
    // All types that are chosen can be written.
    Ok(encoded.unwrap_or_else(|| raw.bytes.clone()))
}

fn attributes(
    opened: &Opened,
    model: &Path,
    wanted: Type,
) -> Result<Vec<(String, Value)>, ModelError> {
    let provenance = Provenance {
        source: name_of(model),
        source_sha256: opened.origin_sha256()?,
        made_by: format!("tidegate-worker {}", env!("CARGO_PKG_VERSION")),
        rule: wanted.rule(),
    };
    let json = serde_json::to_string(&provenance).unwrap_or_default();
    let mut attributes = opened.attributes()?;
    attributes.retain(|(key, _)| key != FILE_TYPE && key != LAYOUT.0 && !decoder::is_own(key));
    for (key, number) in [(FILE_TYPE, wanted.file_type()), LAYOUT] {
        attributes.push((key.to_owned(), Value::Unsigned(number)));
    }
    attributes.push((PROVENANCE.to_owned(), Value::String(json)));
    Ok(attributes)
}
