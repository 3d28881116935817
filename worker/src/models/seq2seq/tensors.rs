//! Where the network's weights come from: a checkpoint in floats, or a model file.
//!
//! A model file holds a quantized matrix as bytes, [rows, bytes of a row], in blocks of 32 weights
//! with a scale each (Q8_0 of GGUF); what is kept finer is F16, what is exact F32.

use safetensors::Dtype;
use tidegate_kernels::{BlockType, ShapeError};

use crate::models::weights::Tensors as _;
use crate::models::{ModelError, Weights};

/// How closely a matrix is kept when a model is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// In 8 bits.
    Small,
    /// In 16 bits: the layer that leads back from the wide rows, whose inputs have outliers.
    Finer,
}

/// A matrix as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub kind: BlockType,
    pub bytes: Vec<u8>,
}

/// Gives a model its weights.
pub trait Tensors {
    fn has(&self, name: &str) -> bool;

    /// `rows` rows of `cols` values.
    fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        rule: Rule,
    ) -> Result<Raw, ModelError>;

    /// In f32 whatever else is done.
    fn exact(&mut self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError>;

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError>;
}

/// A file's tensors as they are.
pub struct Stored<'a> {
    pub weights: &'a Weights,
    /// Whether `quantize` wrote the file.
    pub packaged: bool,
}

impl Tensors for Stored<'_> {
    fn has(&self, name: &str) -> bool {
        self.weights.has(name)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize, _: Rule) -> Result<Raw, ModelError> {
        let dtype = self.weights.info(name).map(|info| info.dtype);
        if dtype == Some(Dtype::U8) && self.packaged {
            let kind = BlockType::Q8_0;
            let width = kind.row_bytes(cols).unwrap_or(0);
            let bytes = self.weights.shaped_bytes(name, &[rows, width], Dtype::U8)?;
            if !scales_are_finite(&bytes, kind.block_bytes()) {
                let problem = format!("tensor {name} holds a scale that is not finite");
                return Err(self.weights.invalid(problem));
            }
            return Ok(Raw { kind, bytes });
        }
        let values = self.weights.floats(name, &[rows, cols])?;
        // F16 that `quantize` chose stays so; a checkpoint in F16 is computed in f32, as elsewhere.
        let kind = match dtype == Some(Dtype::F16) && self.packaged {
            true => BlockType::F16,
            false => BlockType::F32,
        };
        encode(kind, &values)
    }

    fn exact(&mut self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>, ModelError> {
        self.weights.floats(name, &[rows, cols])
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        self.weights.floats(name, &[len])
    }
}

/// Whether the scales that Q8_0's blocks begin with, in binary16, are numbers: their exponent is not
/// all ones.
fn scales_are_finite(bytes: &[u8], block_bytes: usize) -> bool {
    let mut blocks = bytes.chunks_exact(block_bytes);
    blocks.all(|block| block[1] & 0x7C != 0x7C)
}

/// Floats in one of the types that can be written.
pub fn encode(kind: BlockType, values: &[f32]) -> Result<Raw, ModelError> {
    let unwritable = ShapeError {
        what: "types that can be written",
        expected: 1,
        found: 0,
    };
    let bytes = kind.encode(values)?.ok_or(unwritable)?;
    Ok(Raw { kind, bytes })
}
