//! A linear layer of either precision, so that an encoder can keep a sensitive tensor in f32.

use std::ops::Range;

use super::{Epilogue, FloatLinear, Linear};
use crate::error::ShapeError;
use crate::isa::Isa;
use crate::quant::QuantRows;

/// A linear layer in the precision that its weights came in.
pub enum Dense {
    Int8(Linear),
    F32(FloatLinear),
}

/// The rows of one matrix, as both precisions read them.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) float: &'a [f32],
    /// The same rows; stale if only f32 layers read them.
    pub(crate) quant: &'a QuantRows,
}

impl Dense {
    /// Input features a row.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Int8(linear) => linear.inputs(),
            Self::F32(linear) => linear.inputs(),
        }
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        match self {
            Self::Int8(linear) => linear.outputs(),
            Self::F32(linear) => linear.outputs(),
        }
    }

    pub fn isa(&self) -> Isa {
        match self {
            Self::Int8(linear) => linear.isa(),
            Self::F32(linear) => linear.isa(),
        }
    }

    /// Memory held by the packed layer.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Int8(linear) => linear.bytes(),
            Self::F32(linear) => linear.bytes(),
        }
    }

    /// Whether its input has to be quantized first.
    pub(crate) fn reads_int8(&self) -> bool {
        matches!(self, Self::Int8(_))
    }

    /// Multiplies some rows of `x` into `out`.
    pub(crate) fn forward(
        &self,
        x: Rows<'_>,
        rows: Range<usize>,
        epilogue: Epilogue,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        match self {
            Self::Int8(linear) => linear.forward(x.quant, rows, epilogue, out),
            Self::F32(linear) => {
                let x = &x.float[rows.start * linear.inputs()..rows.end * linear.inputs()];
                linear.forward(x, epilogue, out)
            }
        }
    }
}
