//! Weights that are floats: f32, or 16 bits that become f32 in a register.

use crate::aligned::Aligned;
use crate::blocks::{BlockType, RawWeights};
use crate::half::{bf16_to_f32, f16_to_f32};
use crate::simd::Simd;
use crate::simd::number::{AsBf16, AsF16, AsF32, Stored};

/// `[panel][input][channel % panel]`, padded with zeros to whole panels.
pub(super) enum Panels {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
    Bf16(Aligned<u16>),
}

impl Panels {
    pub(super) fn pack(raw: &RawWeights<'_>, panel: usize) -> Self {
        let len = raw.rows.next_multiple_of(panel) * raw.cols;
        match raw.kind {
            BlockType::F16 => Self::F16(arrange(raw, panel, len, u16::from_le_bytes)),
            BlockType::Bf16 => Self::Bf16(arrange(raw, panel, len, u16::from_le_bytes)),
            _ => Self::F32(arrange(raw, panel, len, f32::from_le_bytes)),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::F32(panels) => panels.bytes(),
            Self::F16(panels) | Self::Bf16(panels) => panels.bytes(),
        }
    }

    pub(super) fn channel(&self, channel: usize, panel: usize, out: &mut [f32]) {
        let first = channel / panel * panel * out.len() + channel % panel;
        for (d, out) in out.iter_mut().enumerate() {
            let at = first + d * panel;
            *out = match self {
                Self::F32(panels) => panels[at],
                Self::F16(panels) => f16_to_f32(panels[at]),
                Self::Bf16(panels) => bf16_to_f32(panels[at]),
            };
        }
    }

    /// Multiplies R rows, `stride` values apart, with the panel of channel `channel` into `to`, a
    /// row of two vectors for each.
    ///
    /// # Safety
    /// `x` is valid for reading R rows of `k` values; `channel` is the first of a panel; `to` holds
    /// R rows of two vectors.
    #[inline(always)]
    pub(super) unsafe fn sums<S: Simd, const R: usize>(
        &self,
        s: S,
        x: *const f32,
        k: usize,
        channel: usize,
        to: *mut f32,
    ) {
        // SAFETY: a panel is k lines of two vectors, from channel * k on.
        unsafe {
            match self {
                Self::F32(panels) => {
                    sums::<S, R, AsF32>(s, x, k, panels[channel * k..].as_ptr(), to);
                }
                Self::F16(panels) => {
                    sums::<S, R, AsF16>(s, x, k, panels[channel * k..].as_ptr(), to);
                }
                Self::Bf16(panels) => {
                    sums::<S, R, AsBf16>(s, x, k, panels[channel * k..].as_ptr(), to);
                }
            }
        }
    }
}

fn arrange<const N: usize, T: crate::aligned::Number>(
    raw: &RawWeights<'_>,
    panel: usize,
    len: usize,
    read: fn([u8; N]) -> T,
) -> Aligned<T> {
    let mut panels = Aligned::zeroed(len);
    for (c, channel) in raw.bytes.chunks_exact(raw.cols * N).enumerate() {
        let first = c / panel * panel * raw.cols + c % panel;
        for (d, weight) in channel.chunks_exact(N).enumerate() {
            let mut bytes = [0; N];
            bytes.copy_from_slice(weight);
            panels[first + d * panel] = read(bytes);
        }
    }
    panels
}

/// # Safety
/// As [`Panels::sums`], `panel` being the panel's first weight.
#[inline(always)]
unsafe fn sums<S: Simd, const R: usize, T: Stored>(
    s: S,
    x: *const f32,
    k: usize,
    panel: *const T::Number,
    to: *mut f32,
) {
    // SAFETY: d < k and r < R stay inside what the caller promised.
    unsafe {
        let mut acc = [[s.splat(0.0); 2]; R];
        for d in 0..k {
            let line = panel.add(d * 2 * S::LANES);
            let w = [T::load(s, line), T::load(s, line.add(S::LANES))];
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = s.splat(*x.add(r * k + d));
                *acc = [s.mul_add(x, w[0], acc[0]), s.mul_add(x, w[1], acc[1])];
            }
        }
        for (r, acc) in acc.into_iter().enumerate() {
            s.store(to.add(2 * r * S::LANES), acc[0]);
            s.store(to.add((2 * r + 1) * S::LANES), acc[1]);
        }
    }
}
