//! A linear layer whose weights keep the scales that their file gave them, a scale for every 32
//! inputs of an output channel.
//!
//! Weights of four, five and eight bits are multiplied as integers with activations of eight bits that
//! have a scale for every 32 values too: y = sum over blocks of scale_w * scale_a * sum(q_w * q_a).
//! Four and five bits stay so in memory. Floats are multiplied as floats, and 16-bit floats stay 16
//! bits. A row's result does not depend on the rows that it is computed with.

mod float;
mod forward;
mod pack;
mod rows;
mod tile;

pub(crate) use forward::Multiply;
pub use rows::BlockRows;
pub(crate) use rows::{BlockView, QuantizeRows};

use std::ops::Range;

use crate::aligned::Aligned;
use crate::blocks::{Bits, RUN, RawWeights};
use crate::error::{ShapeError, at_least, at_most, exactly, same_isa};
use crate::isa::Isa;
use crate::linear::Epilogue;
use crate::quant::split;
use crate::simd::MAX_PANEL;

/// A linear layer, y = x W^T + b, packed for one isa from the blocks of a file.
pub struct BlockLinear {
    pub(crate) isa: Isa,
    /// Input features, output channels.
    pub(crate) k: usize,
    pub(crate) n: usize,
    form: Form,
    /// Padded to whole panels; empty if there is none.
    bias: Aligned<f32>,
}

/// The weights, in panels of two vectors of channels.
enum Form {
    Blocks(Blocks),
    Float(float::Panels),
}

/// `[panel][block]` of records: a block's weights in the order of `Simd::block_i8`, `Simd::block_u4`
/// or `Simd::block_u5`, then a binary16 scale for each channel, then perhaps a minimum.
struct Blocks {
    bytes: Aligned<u8>,
    /// Bytes of a record.
    record: usize,
    bits: Bits,
    /// Four, as a value that the compiler does not know: see [`crate::simd::Simd::block_i8`].
    groups: usize,
    mins: bool,
    /// A weight is scale * (q - offset) + min, and this is -offset.
    origin: f32,
    /// A power of two that scales and minima are multiplied with: it keeps them inside binary16.
    factor: f32,
}

/// The rows that a layer reads, as both kinds of weights want them.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Read by layers that say so with [`BlockLinear::reads_floats`]; else it may be empty.
    pub float: &'a [f32],
    /// The same rows, read by all others.
    pub blocks: &'a BlockRows,
}

impl BlockLinear {
    /// Packs `weights`, which are read once and not kept.
    ///
    /// # Errors
    /// The matrix is not what it says, `bias` is not one value a channel, or quantized rows are not
    /// whole blocks of 32.
    pub fn pack(
        isa: Isa,
        weights: &RawWeights<'_>,
        bias: Option<&[f32]>,
    ) -> Result<Self, ShapeError> {
        weights.check()?;
        if let Some(bias) = bias {
            exactly("bias", weights.rows, bias.len())?;
        }
        Ok(isa.run(pack::Pack { isa, weights, bias }))
    }

    /// Input features a row.
    pub fn inputs(&self) -> usize {
        self.k
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        self.n
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether it multiplies f32 rows rather than quantized ones.
    pub fn reads_floats(&self) -> bool {
        matches!(self.form, Form::Float(_))
    }

    /// Memory held by the packed layer.
    pub fn bytes(&self) -> usize {
        let weights = match &self.form {
            Form::Blocks(blocks) => blocks.bytes.bytes(),
            Form::Float(panels) => panels.bytes(),
        };
        weights + self.bias.bytes()
    }

    /// Writes the weights of output channel `channel` to `out`: a row of an embedding table.
    ///
    /// # Errors
    /// There is no such channel, or `out` has another length than [`BlockLinear::inputs`].
    pub fn channel(&self, channel: usize, out: &mut [f32]) -> Result<(), ShapeError> {
        at_most("channel", self.n - 1, channel)?;
        exactly("values of a channel", self.k, out.len())?;
        self.isa.run(pack::Channel {
            linear: self,
            channel,
            out,
        });
        Ok(())
    }

    /// Cuts the output channels into at most `parts` ranges that can be computed apart.
    pub fn split_columns(&self, parts: usize) -> impl Iterator<Item = Range<usize>> {
        split(self.n, parts, MAX_PANEL)
    }

    /// Multiplies the rows `rows` of `x` into `out`, as many rows of [`BlockLinear::outputs`].
    ///
    /// # Errors
    /// `x` has another width or fewer rows, or `out` another length.
    pub fn forward(
        &self,
        x: Input<'_>,
        rows: Range<usize>,
        epilogue: Epilogue,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        at_least("end of rows", rows.start, rows.end)?;
        exactly("linear output", rows.len() * self.n, out.len())?;
        if self.reads_floats() {
            at_most("values of the rows", x.float.len(), rows.end * self.k)?;
        } else {
            exactly("input features", self.k, x.blocks.cols())?;
            same_isa(self.isa, x.blocks.isa())?;
            at_most("rows", x.blocks.rows(), rows.end)?;
        }
        let multiply = Multiply {
            linear: self,
            gate: None,
            float: x.float.as_ptr(),
            blocks: x.blocks.view(),
            rows,
            columns: 0..self.n,
            epilogue,
            out: out.as_mut_ptr(),
            stride: self.n,
        };
        // SAFETY: the rows are in the input and the output, as checked; both are borrowed.
        unsafe { multiply.run() };
        Ok(())
    }
}

impl Blocks {
    /// Blocks of a row.
    fn count(k: usize) -> usize {
        k / RUN
    }
}
