//! From a file's blocks to panels, and one channel back.

use super::float::Panels;
use super::{BlockLinear, Blocks, Form};
use crate::aligned::Aligned;
use crate::blocks::{Bits, BlockType, RUN, RawWeights, Run};
use crate::half::{f16_to_f32, f32_to_f16};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// The exponent that the largest scale or minimum is brought to: below the largest binary16, and
/// far above the smallest normal one.
const LARGEST_EXPONENT: i32 = 14;

pub(super) struct Pack<'a> {
    pub(super) isa: Isa,
    pub(super) weights: &'a RawWeights<'a>,
    pub(super) bias: Option<&'a [f32]>,
}

impl Kernel for Pack<'_> {
    type Output = BlockLinear;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> BlockLinear {
        let raw = self.weights;
        let columns = raw.rows.next_multiple_of(2 * S::LANES);
        let form = match raw.kind {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => {
                Form::Float(Panels::pack(raw, 2 * S::LANES))
            }
            _ => Form::Blocks(blocks(raw, 2 * S::LANES, S::BYTE_OFFSET)),
        };
        BlockLinear {
            isa: self.isa,
            k: raw.cols,
            n: raw.rows,
            form,
            bias: self
                .bias
                .map_or_else(|| Aligned::zeroed(0), |bias| Aligned::padded(bias, columns)),
        }
    }
}

fn blocks(raw: &RawWeights<'_>, panel: usize, byte_offset: i32) -> Blocks {
    let bits = raw.kind.bits();
    let mins = raw.kind.has_mins();
    let quants = panel * bits.run_bytes();
    let record = quants + panel * if mins { 4 } else { 2 };
    let count = Blocks::count(raw.cols);
    let factor = factor(raw);
    let mut bytes = Aligned::zeroed(raw.rows.next_multiple_of(panel) * count * record / panel);
    let stride = raw.bytes.len() / raw.rows;
    for channel in 0..raw.rows {
        let (lane, first) = (channel % panel, channel / panel * count * record);
        raw.kind.runs(raw.row(channel, stride), |b, run| {
            let record = &mut bytes[first + b * record..][..record];
            put(record, &run, panel, lane, bits, byte_offset);
            let mut half = |at: usize, x: f32| {
                record[at + 2 * lane..][..2].copy_from_slice(&f32_to_f16(x / factor).to_le_bytes());
            };
            half(quants, run.scale);
            if mins {
                half(quants + 2 * panel, run.min);
            }
        });
    }
    Blocks {
        bytes,
        record,
        bits,
        groups: std::hint::black_box(4),
        mins,
        origin: -raw.kind.offset() as f32,
        factor,
    }
}

/// Where the lower bits of weight `i` of a run lie in a record, and by how many bits they are
/// shifted. A panel's two vectors follow each other, so lane counts through both.
fn place(i: usize, panel: usize, lane: usize, bits: Bits) -> (usize, usize) {
    if bits == Bits::Eight {
        (i / 4 * 4 * panel + lane * 4 + i % 4, 0)
    } else {
        (i / 4 % 4 * 4 * panel + lane * 4 + i % 4, i / 16 * 4)
    }
}

/// Where the fifth bit of weight `i` lies, and by how many bits it is shifted.
fn fifth(i: usize, panel: usize, lane: usize) -> (usize, usize) {
    (16 * panel + lane * 4 + i % 4, i / 4)
}

fn put(record: &mut [u8], run: &Run, panel: usize, lane: usize, bits: Bits, offset: i32) {
    for (i, &q) in run.q.iter().enumerate() {
        let (at, shift) = place(i, panel, lane, bits);
        if bits == Bits::Eight {
            record[at] = (i32::from(q) + offset) as u8;
            continue;
        }
        record[at] |= (q as u8 & 15) << shift;
        if bits == Bits::Five {
            let (at, shift) = fifth(i, panel, lane);
            record[at] |= (q as u8 >> 4 & 1) << shift;
        }
    }
}

/// The power of two that divides every scale and minimum into the middle of binary16: one where they
/// are such numbers in the file.
fn factor(raw: &RawWeights<'_>) -> f32 {
    if raw.kind.block_len() == RUN {
        return 1.0;
    }
    let mut largest = 0.0f32;
    raw.kind.runs(raw.bytes, |_, run| {
        let size = run.scale.abs().max(run.min.abs());
        if size.is_finite() {
            largest = largest.max(size);
        }
    });
    let exponent = (largest.to_bits() >> 23) as i32 - 127 - LARGEST_EXPONENT;
    f32::from_bits(((exponent.max(-126) + 127) << 23) as u32)
}

/// Reads one channel back.
pub(super) struct Channel<'a> {
    pub(super) linear: &'a BlockLinear,
    pub(super) channel: usize,
    pub(super) out: &'a mut [f32],
}

impl Kernel for Channel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let panel = 2 * S::LANES;
        let lane = self.channel % panel;
        let blocks = match &self.linear.form {
            Form::Float(panels) => return panels.channel(self.channel, panel, self.out),
            Form::Blocks(blocks) => blocks,
        };
        let quants = blocks.bits.run_bytes() * panel;
        let count = Blocks::count(self.linear.k);
        let records = blocks.bytes[self.channel / panel * count * blocks.record..]
            .chunks_exact(blocks.record);
        for (record, out) in records.zip(self.out.chunks_exact_mut(RUN)) {
            let half = |at: usize| {
                let at = at + 2 * lane;
                blocks.factor * f16_to_f32(u16::from_le_bytes([record[at], record[at + 1]]))
            };
            let scale = half(quants);
            let min = if blocks.mins {
                half(quants + 2 * panel)
            } else {
                0.0
            };
            for (i, out) in out.iter_mut().enumerate() {
                let (at, shift) = place(i, panel, lane, blocks.bits);
                let mut q = i32::from(record[at] >> shift);
                match blocks.bits {
                    Bits::Eight if S::BYTE_OFFSET == 0 => q = i32::from(record[at] as i8),
                    Bits::Eight => q -= S::BYTE_OFFSET,
                    Bits::Four => q &= 15,
                    Bits::Five => {
                        let (at, shift) = fifth(i, panel, lane);
                        q = q & 15 | i32::from(record[at] >> shift & 1) << 4;
                    }
                }
                *out = scale * (q as f32 + blocks.origin) + min;
            }
        }
    }
}
