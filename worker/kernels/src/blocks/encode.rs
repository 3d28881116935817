//! Blocks from floats, for those types that a checkpoint of floats is turned into.

use super::{BlockType, RUN};
use crate::error::{ShapeError, exactly};
use crate::half::f32_to_f16;

/// The largest magnitude of an 8-bit weight.
const LARGEST: f32 = 127.0;

impl BlockType {
    /// `values`, whole blocks of them, as this type stores them; none if it is one of those that are
    /// only read.
    ///
    /// # Errors
    /// `values` are not whole blocks.
    pub fn encode(self, values: &[f32]) -> Result<Option<Vec<u8>>, ShapeError> {
        let len = self.block_len();
        exactly(
            "values in whole blocks",
            values.len() / len * len,
            values.len(),
        )?;
        let half = |&x: &f32| f32_to_f16(x).to_le_bytes();
        Ok(match self {
            Self::F32 => Some(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Self::F16 => Some(values.iter().flat_map(half).collect()),
            Self::Q8_0 => Some(values.chunks_exact(RUN).flat_map(eight_bits).collect()),
            _ => None,
        })
    }
}

/// A scale in binary16, then the weights in its steps.
fn eight_bits(block: &[f32]) -> impl Iterator<Item = u8> {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / LARGEST;
    let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let steps = block
        .iter()
        .map(move |x| (x * factor).round().clamp(-LARGEST, LARGEST) as i8 as u8);
    f32_to_f16(scale).to_le_bytes().into_iter().chain(steps)
}
