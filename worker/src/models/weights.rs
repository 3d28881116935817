//! Weights by name: from a safetensors file, one tensor at a time, checked before they are used.
//!
//! A matrix is stored in f32, f16 or bf16, or, in a file written by `quantize`, in int8 with one
//! f32 a row under its name and [`SCALES`]. The file is read, never mapped: a file that is cut
//! while it is read is an error, not a fault.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use tidegate_kernels::{Dense, FloatLinear, Isa, Linear, ShapeError, Table};

use super::{ModelError, files};

/// What the scales of an int8 matrix are named, after the matrix.
pub const SCALES: &str = ".scale";

/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// The most that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Gives a model its weights.
pub trait Tensors {
    fn has(&self, name: &str) -> bool;

    /// `rows` rows of `cols` values.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError>;

    /// As [`Tensors::matrix`], in f32 whatever else is done: a head, or a small table.
    fn exact(&mut self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError>;

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError>;
}

/// A matrix in the precision that it is stored in.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub cols: usize,
    pub values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    /// Each value of row i is worth `scales[i]` a step.
    Int8 {
        values: Vec<i8>,
        scales: Vec<f32>,
    },
}

impl Matrix {
    /// Packs it as an embedding table.
    pub fn table(self) -> Result<Table, ShapeError> {
        match self.values {
            Values::F32(values) => Table::float(values, self.cols),
            Values::Int8 { values, scales } => Table::new(values, scales, self.cols),
        }
    }

    /// Packs it as a linear layer whose output channels are its rows.
    pub fn dense(&self, isa: Isa, bias: &[f32]) -> Result<Dense, ShapeError> {
        match &self.values {
            Values::F32(values) => {
                FloatLinear::pack(isa, values, Some(bias), self.cols).map(Dense::F32)
            }
            Values::Int8 { values, scales } => {
                Linear::pack(isa, values, scales, Some(bias), self.cols).map(Dense::Int8)
            }
        }
    }

    /// Joins matrices of one width row after row; in int8 if all of them are.
    pub fn stack(parts: Vec<Matrix>) -> Matrix {
        let cols = parts.first().map_or(0, |part| part.cols);
        let all_int8 = (parts.iter()).all(|part| matches!(part.values, Values::Int8 { .. }));
        let mut stacked = match all_int8 {
            true => Values::Int8 {
                values: Vec::new(),
                scales: Vec::new(),
            },
            false => Values::F32(Vec::new()),
        };
        for part in parts {
            match (&mut stacked, part.values) {
                (
                    Values::Int8 { values, scales },
                    Values::Int8 {
                        values: v,
                        scales: s,
                    },
                ) => {
                    values.extend(v);
                    scales.extend(s);
                }
                (Values::F32(values), part) => values.extend(part.into_f32(cols)),
                // Excluded by `all_int8`.
                (Values::Int8 { .. }, Values::F32(_)) => {}
            }
        }
        Matrix {
            cols,
            values: stacked,
        }
    }
}

impl Values {
    /// What the values stand for, in rows of `cols`.
    pub fn into_f32(self, cols: usize) -> Vec<f32> {
        match self {
            Values::F32(values) => values,
            Values::Int8 { values, scales } => values
                .chunks_exact(cols.max(1))
                .zip(scales)
                .flat_map(|(row, scale)| row.iter().map(move |&q| f32::from(q) * scale))
                .collect(),
        }
    }
}

/// As many as show what a file is.
fn first_bytes(file: &File, length: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length.min(64) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// The tensors of one safetensors file.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Where the first tensor begins.
    data: u64,
}

impl Weights {
    /// Reads the header and checks that the file is as long as it says.
    pub fn open(path: &Path) -> Result<Weights, ModelError> {
        let unreadable = |error| ModelError::Unreadable {
            file: path.to_owned(),
            error,
        };
        let invalid = |problem: String| ModelError::Invalid {
            file: path.to_owned(),
            problem,
        };
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let mut prefix = [0; LENGTH_BYTES as usize];
        if length < LENGTH_BYTES {
            return Err(invalid(format!(
                "it is not a safetensors file: it has {length} bytes"
            )));
        }
        file.read_exact_at(&mut prefix, 0).map_err(unreadable)?;
        let header_bytes = u64::from_le_bytes(prefix);
        if files::is_pointer(&first_bytes(&file, length).map_err(unreadable)?) {
            return Err(invalid(files::POINTER.to_owned()));
        }
        if header_bytes > MAX_HEADER_BYTES || header_bytes > length - LENGTH_BYTES {
            return Err(invalid(format!(
                "it is not a safetensors file, or cut off: its header would have {header_bytes} bytes, the file has {length}"
            )));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact_at(&mut header, LENGTH_BYTES)
            .map_err(unreadable)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| {
            invalid(format!(
                "its header is not that of a safetensors file: {error}"
            ))
        })?;
        let data = LENGTH_BYTES + header_bytes;
        let expected = data + header.data_len() as u64;
        if expected != length {
            return Err(invalid(format!(
                "it is damaged or cut off: its header promises {expected} bytes, the file has {length}"
            )));
        }
        Ok(Weights {
            path: path.to_owned(),
            file,
            header,
            data,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.data + self.header.data_len() as u64
    }

    /// What the file says of itself.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        let attributes = self.header.metadata().as_ref()?;
        attributes.get(key).map(String::as_str)
    }

    /// The names of all tensors, in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    pub fn holds_int8(&self) -> bool {
        let mut tensors = self.header.tensors().into_values();
        tensors.any(|info| info.dtype == Dtype::I8)
    }

    /// A tensor's bytes as they are stored.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let info = self.find(name)?;
        let (first, end) = info.data_offsets;
        let mut bytes = vec![0; end - first];
        self.read_at(&mut bytes, first as u64)?;
        Ok(bytes)
    }

    /// Passes the data of all tensors through `take`, piece by piece.
    pub fn each_piece(&self, mut take: impl FnMut(&[u8])) -> Result<(), ModelError> {
        const PIECE: usize = 1 << 20;
        let mut piece = vec![0; PIECE];
        let mut left = self.header.data_len();
        let mut at = 0;
        while left > 0 {
            let now = &mut piece[..left.min(PIECE)];
            self.read_at(now, at)?;
            take(now);
            left -= now.len();
            at += now.len() as u64;
        }
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), ModelError> {
        let read = self.file.read_exact_at(bytes, self.data + offset);
        read.map_err(|error| ModelError::Unreadable {
            file: self.path.clone(),
            error,
        })
    }

    fn find(&self, name: &str) -> Result<&TensorInfo, ModelError> {
        self.header
            .info(name)
            .ok_or_else(|| self.invalid(format!("tensor {name} is missing{}", self.others(name))))
    }

    /// Where a tensor of this name stands under another prefix, for messages.
    fn others(&self, name: &str) -> String {
        let names = self.names();
        // The layer's own name and what it has: "LayerNorm.weight".
        let own = name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
        let end = &name[own..];
        let alike = names.iter().find(|other| other.ends_with(end));
        let shown = alike.or(names.first());
        shown.map_or(String::new(), |other| {
            format!("; the file's tensors are named like {other}: is their prefix another one?")
        })
    }

    pub fn invalid(&self, problem: impl Into<String>) -> ModelError {
        ModelError::Invalid {
            file: self.path.clone(),
            problem: problem.into(),
        }
    }

    /// Refuses another shape than config.json calls for.
    fn shaped(&self, name: &str, shape: &[usize]) -> Result<Dtype, ModelError> {
        let info = self.find(name)?;
        if info.shape != shape {
            return Err(self.invalid(format!(
                "tensor {name} has shape {:?}; config.json calls for {shape:?}",
                info.shape
            )));
        }
        Ok(info.dtype)
    }

    /// The bytes of a tensor of this shape and type.
    pub(super) fn shaped_bytes(
        &self,
        name: &str,
        shape: &[usize],
        dtype: Dtype,
    ) -> Result<Vec<u8>, ModelError> {
        let found = self.shaped(name, shape)?;
        if found != dtype {
            return Err(self.invalid(format!(
                "tensor {name} is stored as {found:?}; expected {dtype:?}"
            )));
        }
        self.bytes(name)
    }

    /// Any float tensor in f32. Values that are no number, or infinite, are refused.
    pub(super) fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let dtype = match self.shaped(name, shape)? {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            other => {
                return Err(self.invalid(format!(
                    "tensor {name} is stored as {other:?}; expected F32, F16, BF16 or F64"
                )));
            }
        };
        let bytes = self.bytes(name)?;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)?;
        drop(bytes);
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        match values.iter().position(|value: &f32| !value.is_finite()) {
            Some(at) => Err(self.invalid(format!("tensor {name} holds {} at {at}", values[at]))),
            None => Ok(values),
        }
    }
}

impl Tensors for Weights {
    fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let shape = [rows, cols];
        if self.shaped(name, &shape)? != Dtype::I8 {
            let values = Values::F32(self.floats(name, &shape)?);
            return Ok(Matrix { cols, values });
        }
        let scales = self.floats(&format!("{name}{SCALES}"), &[rows])?;
        let values = self.bytes(name)?.into_iter().map(|b| b as i8).collect();
        let values = Values::Int8 { values, scales };
        Ok(Matrix { cols, values })
    }

    fn exact(&mut self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError> {
        self.floats(name, &[rows, cols])
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        self.floats(name, &[len])
    }
}
