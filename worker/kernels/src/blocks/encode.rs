//! Blocks from floats, for those types that a checkpoint is turned into.
//!
//! Scales are chosen as ggml's reference does (`quantize_row_*_ref` in ggml-quants.c), so that a file
//! made here has the accuracy that users know of its type.

use super::{BlockType, RUN};
use crate::error::{ShapeError, exactly};
use crate::half::f32_to_f16;

/// The largest magnitude of an 8-bit weight.
const LARGEST: f32 = 127.0;

/// The largest 4-bit weight, without a sign, and the one that stands for zero in Q4_0.
const LARGEST_OF_FOUR: f32 = 15.0;
const ZERO_OF_FOUR: f32 = 8.0;

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
        let blocks = values.chunks_exact(RUN);
        Ok(match self {
            Self::F32 => Some(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Self::F16 => Some(values.iter().flat_map(half).collect()),
            Self::Q8_0 => Some(blocks.flat_map(eight_bits).collect()),
            Self::Q4_0 => Some(blocks.flat_map(four_bits).collect()),
            Self::Q4_1 => Some(blocks.flat_map(four_bits_from_least).collect()),
            _ => None,
        })
    }
}

/// A scale in binary16, then the weights in its steps.
fn eight_bits(block: &[f32]) -> impl Iterator<Item = u8> {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / LARGEST;
    let factor = reciprocal(scale);
    let steps = block
        .iter()
        .map(move |x| (x * factor).round().clamp(-LARGEST, LARGEST) as i8 as u8);
    f32_to_f16(scale).to_le_bytes().into_iter().chain(steps)
}

/// A scale in binary16, then the weights in its steps from -8 on. The weight of the largest magnitude
/// is -8 steps, so the scale has the opposite sign of that weight.
fn four_bits(block: &[f32]) -> impl Iterator<Item = u8> {
    let farthest = |far: f32, &x: &f32| if x.abs() > far.abs() { x } else { far };
    let scale = block.iter().fold(0.0, farthest) / -ZERO_OF_FOUR;
    let factor = reciprocal(scale);
    let steps = pairs(block, move |x| x * factor + ZERO_OF_FOUR);
    f32_to_f16(scale).to_le_bytes().into_iter().chain(steps)
}

/// A scale and the least weight in binary16, then the weights in steps from the least.
fn four_bits_from_least(block: &[f32]) -> impl Iterator<Item = u8> {
    let least = block.iter().copied().fold(f32::INFINITY, f32::min);
    let most = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (most - least) / LARGEST_OF_FOUR;
    let factor = reciprocal(scale);
    let steps = pairs(block, move |x| (x - least) * factor);
    let head = [
        f32_to_f16(scale).to_le_bytes(),
        f32_to_f16(least).to_le_bytes(),
    ];
    head.into_iter().flatten().chain(steps)
}

fn reciprocal(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The weights of a block in 4 bits: of each byte the low ones are from the first half of the block, the
/// high ones from the second.
fn pairs(block: &[f32], step: impl Fn(f32) -> f32) -> impl Iterator<Item = u8> {
    // The nearest whole number: the fraction is cut off.
    let four = move |x: f32| (step(x) + 0.5).clamp(0.0, LARGEST_OF_FOUR) as u8;
    let (low, high) = block.split_at(RUN / 2);
    low.iter()
        .zip(high)
        .map(move |(&low, &high)| four(low) | four(high) << 4)
}
