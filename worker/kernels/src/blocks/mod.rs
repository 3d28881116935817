//! Weights as GGUF files hold them: rows of blocks, each with scales of its own.
//!
//! The layouts are those of ggml's `block_*` structures, written here from their definition. A
//! block is read into runs of 32 weights w = scale * q + min, which is what the linear layer is
//! packed from ([`crate::BlockLinear`]).

mod encode;
mod run;
mod super_block;

pub(crate) use run::{Bits, RUN, Run};

use std::fmt;
use std::ops::Range;

use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::half::{bf16_to_f32, f16_to_f32};

/// How the weights of a row are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
}

impl BlockType {
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// The type with this number in a GGUF file (`ggml_type`).
    pub fn from_ggml(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.ggml_number() == number)
    }

    pub fn ggml_number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    /// Weights of a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
            _ => 32,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of a row of `cols` weights, if they are whole blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let whole = cols.is_multiple_of(self.block_len());
        whole.then(|| (cols / self.block_len()).checked_mul(self.block_bytes()))?
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A matrix as it lies in a file: `rows` output channels of `cols` weights.
#[derive(Clone, Copy, Debug)]
pub struct RawWeights<'a> {
    pub kind: BlockType,
    pub rows: usize,
    pub cols: usize,
    pub bytes: &'a [u8],
}

impl<'a> RawWeights<'a> {
    /// Some of the rows: a part of a fused matrix.
    ///
    /// # Errors
    /// The rows are not in the matrix, or its bytes are not as many as it needs.
    pub fn rows(&self, rows: Range<usize>) -> Result<Self, ShapeError> {
        let stride = self.check()?;
        at_most("end of rows", self.rows, rows.end)?;
        at_least("end of rows", rows.start, rows.end)?;
        Ok(Self {
            rows: rows.len(),
            bytes: &self.bytes[rows.start * stride..rows.end * stride],
            ..*self
        })
    }

    /// Reads one row as f32.
    ///
    /// # Errors
    /// There is no such row, `out` has another length than a row, or the bytes are not as many as
    /// the matrix needs.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), ShapeError> {
        let stride = self.check()?;
        at_most("row", self.rows.saturating_sub(1), row)?;
        exactly("values of a row", self.cols, out.len())?;
        self.kind
            .dequantize(&self.bytes[row * stride..][..stride], out);
        Ok(())
    }

    /// Bytes from one row to the next, if the matrix is what it says.
    pub(crate) fn check(&self) -> Result<usize, ShapeError> {
        let whole = self.cols / self.kind.block_len() * self.kind.block_len();
        exactly("columns in whole blocks", whole, self.cols)?;
        at_least("columns", 1, self.cols)?;
        at_least("rows", 1, self.rows)?;
        let stride = self.kind.row_bytes(self.cols).unwrap_or(usize::MAX);
        exactly(
            "bytes of the weights",
            self.rows.saturating_mul(stride),
            self.bytes.len(),
        )?;
        Ok(stride)
    }

    /// The bytes of row `row`; `stride` is what [`RawWeights::check`] returned.
    pub(crate) fn row(&self, row: usize, stride: usize) -> &'a [u8] {
        &self.bytes[row * stride..][..stride]
    }
}

impl BlockType {
    /// Reads whole blocks as f32; `out` is as long as they are.
    fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        let pairs = bytes
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]));
        match self {
            Self::F32 => {
                for (b, out) in bytes.chunks_exact(4).zip(out) {
                    *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Self::F16 => pairs.zip(out).for_each(|(x, out)| *out = f16_to_f32(x)),
            Self::Bf16 => pairs.zip(out).for_each(|(x, out)| *out = bf16_to_f32(x)),
            Self::Q6K => {
                let blocks = bytes.chunks_exact(self.block_bytes());
                for (block, out) in blocks.zip(out.chunks_exact_mut(self.block_len())) {
                    super_block::q6(block, out);
                }
            }
            _ => self.runs(bytes, |at, run| run.dequantize(&mut out[at * RUN..][..RUN])),
        }
    }
}
