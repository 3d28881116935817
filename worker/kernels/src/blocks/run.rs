//! Runs of 32 weights that share a scale, and the blocks that are one run.

use super::{BlockType, super_block};
use crate::half::f16_to_f32;

/// Weights of a run.
pub(crate) const RUN: usize = 32;

/// Weights w = scale * (q - offset) + min, `offset` being the same for all runs of a type
/// ([`BlockType::offset`]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// 0..=15 for four bits, 0..=31 for five, any signed value for eight.
    pub(crate) q: [i8; RUN],
    pub(crate) offset: i8,
    pub(crate) scale: f32,
    pub(crate) min: f32,
}

/// How many bits the weights of a run take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    Four,
    Five,
    Eight,
}

impl Bits {
    /// Bytes of a run.
    pub(crate) fn run_bytes(self) -> usize {
        match self {
            Self::Four => 16,
            Self::Five => 20,
            Self::Eight => RUN,
        }
    }
}

impl Run {
    pub(super) fn dequantize(&self, out: &mut [f32]) {
        for (q, out) in self.q.iter().zip(out) {
            *out = self.scale * (f32::from(*q) - f32::from(self.offset)) + self.min;
        }
    }

    /// The nearest run of eight bits to 32 weights.
    pub(crate) fn quantize(weights: &[f32]) -> Self {
        let largest = weights.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut q = [0; RUN];
        for (q, w) in q.iter_mut().zip(weights) {
            *q = (w * factor).round_ties_even() as i8;
        }
        Self {
            q,
            offset: 0,
            scale: largest / 127.0,
            min: 0.0,
        }
    }
}

impl BlockType {
    /// Bits of each [`Run::q`].
    pub(crate) fn bits(self) -> Bits {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q4K => Bits::Four,
            Self::Q5_0 | Self::Q5_1 | Self::Q5K => Bits::Five,
            _ => Bits::Eight,
        }
    }

    /// Whether a run has a minimum besides its scale.
    pub(crate) fn has_mins(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4K | Self::Q5K)
    }

    /// What [`Run::offset`] is.
    pub(crate) fn offset(self) -> i32 {
        match self {
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            _ => 0,
        }
    }

    /// Calls `put` with each run of whole blocks, counted from zero. Types without runs are not
    /// read: floats.
    pub(crate) fn runs(self, bytes: &[u8], mut put: impl FnMut(usize, Run)) {
        let per_block = self.block_len() / RUN;
        for (b, block) in bytes.chunks_exact(self.block_bytes()).enumerate() {
            match self {
                Self::F32 | Self::F16 | Self::Bf16 => {}
                Self::Q4K | Self::Q5K => {
                    for i in 0..per_block {
                        put(b * per_block + i, super_block::q4_q5(self, block, i));
                    }
                }
                Self::Q6K => {
                    let mut weights = [0.0; 256];
                    super_block::q6(block, &mut weights);
                    for (i, weights) in weights.chunks_exact(RUN).enumerate() {
                        put(b * per_block + i, Run::quantize(weights));
                    }
                }
                _ => put(b, one_run(self, block)),
            }
        }
    }
}

pub(super) fn half(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// The blocks of 32: a scale, a minimum for the `_1` types, fifth bits for the `Q5` types, then the
/// weights, low halves of the bytes first.
fn one_run(kind: BlockType, block: &[u8]) -> Run {
    let scale = half(block, 0);
    let mut q = [0i8; RUN];
    if kind == BlockType::Q8_0 {
        for (q, &byte) in q.iter_mut().zip(&block[2..]) {
            *q = byte as i8;
        }
        return Run {
            q,
            offset: 0,
            scale,
            min: 0.0,
        };
    }
    let min = if kind.has_mins() { half(block, 2) } else { 0.0 };
    let halves = &block[block.len() - 16..];
    let fifth = match kind {
        BlockType::Q5_0 | BlockType::Q5_1 => {
            let at = block.len() - 20;
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        }
        _ => 0,
    };
    for i in 0..RUN {
        let low = halves[i % 16] >> (i / 16 * 4) & 15;
        q[i] = (low | ((fifth >> i & 1) << 4) as u8) as i8;
    }
    Run {
        q,
        offset: kind.offset() as i8,
        scale,
        min,
    }
}
