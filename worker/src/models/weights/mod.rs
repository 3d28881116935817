//! Weights by name: from a safetensors file or several, one tensor at a time, checked before they are
//! used.
//!
//! A matrix is stored in f32, f16 or bf16, or, in a file written by `quantize`, in int8 with one
//! f32 a row under its name and [`SCALES`]. The file is read, never mapped: a file that is cut
//! while it is read is an error, not a fault.

mod shard;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use tidegate_kernels::{Dense, FloatLinear, Isa, Linear, ShapeError, Table};

use self::shard::Shard;
use super::ModelError;
use super::files::Files;
use super::layout::WEIGHTS_FILE;

/// What the scales of an int8 matrix are named, after the matrix.
pub const SCALES: &str = ".scale";

/// Says which of several files holds a tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// The most files that one model's weights are in.
const MAX_SHARDS: usize = 512;

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

    /// Its first `rows` rows, and the others.
    pub fn split(self, rows: usize) -> (Matrix, Matrix) {
        let cols = self.cols;
        let (first, second) = match self.values {
            Values::F32(mut first) => {
                let second = first.split_off(rows * cols);
                (Values::F32(first), Values::F32(second))
            }
            Values::Int8 {
                mut values,
                mut scales,
            } => {
                let second = Values::Int8 {
                    values: values.split_off(rows * cols),
                    scales: scales.split_off(rows),
                };
                (Values::Int8 { values, scales }, second)
            }
        };
        let matrix = |values| Matrix { cols, values };
        (matrix(first), matrix(second))
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

/// A model's tensors: of one safetensors file, or of several that an index names.
#[derive(Debug)]
pub struct Weights {
    /// The file, or the index.
    path: PathBuf,
    shards: Vec<Shard>,
    /// Which of the files holds a tensor.
    place_of: BTreeMap<String, usize>,
}

/// Which file holds a tensor, as an index says.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Opens one file.
    pub fn open(path: &Path) -> Result<Weights, ModelError> {
        Weights::of(path.to_owned(), vec![Shard::open(path)?])
    }

    /// Opens those of a directory: one file, or those that its index names; `None` if there are none.
    pub(super) fn of_directory(files: &Files) -> Result<Option<Weights>, ModelError> {
        let one = files.path(WEIGHTS_FILE);
        if one.is_file() {
            return Weights::open(&one).map(Some);
        }
        // Not among the files that `quantize` keeps.
        let Some(index) = Files::in_directory(files.place()).json::<Index>(INDEX_FILE)? else {
            return Ok(None);
        };
        let names: BTreeSet<String> = index.weight_map.into_values().collect();
        let is_name = |name: &String| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name.as_str())
        };
        if names.len() > MAX_SHARDS || !names.iter().all(is_name) {
            let problem =
                "it names files that cannot be parts of a model; expected names of files beside it";
            return Err(files.invalid(INDEX_FILE, problem));
        }
        let shards = names.iter().map(|name| {
            let file = files.path(name);
            match file.is_file() {
                true => Shard::open(&file),
                false => Err(ModelError::Missing {
                    file,
                    hint: "model.safetensors.index.json names it as a part of the weights",
                }),
            }
        });
        let shards = shards.collect::<Result<_, _>>()?;
        Weights::of(files.path(INDEX_FILE), shards).map(Some)
    }

    fn of(path: PathBuf, shards: Vec<Shard>) -> Result<Weights, ModelError> {
        let mut weights = Weights {
            path,
            shards,
            place_of: BTreeMap::new(),
        };
        for (place, shard) in weights.shards.iter().enumerate() {
            for name in shard.header.offset_keys() {
                if let Some(other) = weights.place_of.insert(name.clone(), place) {
                    let other = weights.shards[other].path.display();
                    let problem = format!("tensor {name} is in {other} too");
                    return Err(ModelError::Invalid {
                        file: shard.path.clone(),
                        problem,
                    });
                }
            }
        }
        Ok(weights)
    }

    /// The same once more, for another reader.
    pub fn again(&self) -> Result<Weights, ModelError> {
        let shards = self.shards.iter().map(|shard| Shard::open(&shard.path));
        Weights::of(self.path.clone(), shards.collect::<Result<_, _>>()?)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the files.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(Shard::file_bytes).sum()
    }

    /// What a file says of itself.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        let attributes = self.shards.first()?.header.metadata().as_ref()?;
        attributes.get(key).map(String::as_str)
    }

    /// The names of all tensors, in the order of the files.
    pub fn names(&self) -> Vec<String> {
        let names = self.shards.iter().map(|shard| shard.header.offset_keys());
        names.flatten().collect()
    }

    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.place(name).map(|(_, info)| info)
    }

    fn place(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        let shard = &self.shards[*self.place_of.get(name)?];
        Some((shard, shard.header.info(name)?))
    }

    pub fn holds_int8(&self) -> bool {
        let mut names = self.place_of.keys();
        names.any(|name| self.info(name).is_some_and(|info| info.dtype == Dtype::I8))
    }

    /// A tensor's bytes as they are stored.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let (shard, info) = self.find(name)?;
        shard.bytes(info)
    }

    /// Passes the data of all tensors through `take`, piece by piece.
    pub fn each_piece(&self, mut take: impl FnMut(&[u8])) -> Result<(), ModelError> {
        (self.shards.iter()).try_for_each(|shard| shard.each_piece(&mut take))
    }

    fn find(&self, name: &str) -> Result<(&Shard, &TensorInfo), ModelError> {
        self.place(name)
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
        let (_, info) = self.find(name)?;
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
        self.info(name).is_some()
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
