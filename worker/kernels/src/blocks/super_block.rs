//! The blocks of 256 weights ("k-quants"), whose runs have quantized scales.

use super::BlockType;
use super::run::{RUN, Run, half};

/// Run `i` of a Q4_K or Q5_K block: d, dmin, eight scales and minima of six bits each in twelve
/// bytes, for Q5_K a fifth bit of each weight, then the lower four; weights are d * scale * q -
/// dmin * min.
pub(super) fn q4_q5(kind: BlockType, block: &[u8], i: usize) -> Run {
    let packed = &block[4..16];
    let (scale, min) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (
            packed[i + 4] & 15 | packed[i - 4] >> 6 << 4,
            packed[i + 4] >> 4 | packed[i] >> 6 << 4,
        )
    };
    let lower = &block[block.len() - 128..][i / 2 * RUN..][..RUN];
    let mut q = [0i8; RUN];
    for (q, &byte) in q.iter_mut().zip(lower) {
        *q = (byte >> (i % 2 * 4) & 15) as i8;
    }
    if kind == BlockType::Q5K {
        for (q, &fifth) in q.iter_mut().zip(&block[16..16 + RUN]) {
            *q |= ((fifth >> i & 1) << 4) as i8;
        }
    }
    Run {
        q,
        offset: 0,
        scale: half(block, 0) * f32::from(scale),
        min: -half(block, 2) * f32::from(min),
    }
}

/// A Q6_K block: the lower four bits, the upper two, sixteen scales of eight bits, d; weights are
/// d * scale * (q - 32), a scale for sixteen of them.
pub(super) fn q6(block: &[u8], out: &mut [f32]) {
    let (lower, upper, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for (at, out) in out.iter_mut().enumerate() {
        let (part, i) = (at / 128, at % 128);
        let (quarter, l) = (i / 32, i % 32);
        let low = lower[part * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
        let high = upper[part * 32 + l] >> (quarter * 2) & 3;
        let q = i32::from(low | high << 4) - 32;
        *out = d * f32::from(scales[at / 16] as i8) * q as f32;
    }
}
