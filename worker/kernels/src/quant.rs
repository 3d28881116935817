//! Dynamic quantization of activations, one scale a row, and symmetric quantization of weights.
//!
//! Row r holds q = round(x * 127 / max|x|), -127..=127, and its scale max|x| / 127, so that x is about q * scale
//! (symmetric, per token: Yao et al., ZeroQuant, 2022, section 4.1). A row of zeros has scale zero.

use std::ops::Range;

use crate::aligned::Aligned;
use crate::error::{ShapeError, at_most, exactly};
use crate::simd::rows::{Magnitude, fold};
use crate::simd::{Kernel, Simd};
use crate::tier::Tier;

/// The largest magnitude of a quantized value.
pub(crate) const Q_MAX: f32 = 127.0;

/// Rows of quantized activations, in the form that one tier multiplies.
pub struct QuantRows {
    tier: Tier,
    cols: usize,
    /// Elements from one row to the next.
    stride: usize,
    /// Activations of the tier's type: u8 or i16.
    bytes: Aligned<u8>,
    scales: Vec<f32>,
}

/// Bytes that hold one activation of any tier.
const ACT_BYTES: usize = 2;

/// Row lengths are whole cache lines; one more where rows would otherwise all fall into the same few sets of
/// a first-level cache.
fn stride_for(cols: usize) -> usize {
    let stride = cols.next_multiple_of(64);
    if stride.is_multiple_of(1024) {
        stride + 64
    } else {
        stride
    }
}

impl QuantRows {
    /// Room for `rows` rows of `cols` activations.
    pub fn new(tier: Tier, rows: usize, cols: usize) -> Self {
        let stride = stride_for(cols);
        let bytes = Aligned::zeroed(rows * stride * ACT_BYTES);
        Self {
            tier,
            cols,
            stride,
            bytes,
            scales: vec![0.0; rows],
        }
    }

    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Activations a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows there is room for.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// What one step of each row is worth.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Quantizes `src`, rows of [`QuantRows::cols`] values, into the rows from `first` on.
    ///
    /// # Errors
    /// `src` is not whole rows, or there is no room for them.
    pub fn quantize(&mut self, first: usize, src: &[f32]) -> Result<(), ShapeError> {
        if self.cols == 0 {
            return exactly("activations", 0, src.len());
        }
        let rows = src.len() / self.cols;
        exactly("activations", rows * self.cols, src.len())?;
        at_most("quantized rows", self.rows(), first + rows)?;
        self.tier.run(QuantizeRows {
            to: self,
            first,
            src,
        });
        Ok(())
    }

    /// The first activation of a row, as the tier's type.
    ///
    /// # Safety
    /// `S` is the tier that these rows were made for, and `row < rows()`.
    #[inline(always)]
    pub(crate) unsafe fn row<S: Simd>(&self, row: usize) -> *const S::Act {
        debug_assert!(row < self.rows());
        // SAFETY: row * stride activations of at most ACT_BYTES lie before the row in the buffer.
        unsafe { self.bytes.as_ptr().cast::<S::Act>().add(row * self.stride) }
    }

    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Quantizes one row whose largest magnitude is known.
    ///
    /// # Safety
    /// `S` is the tier that these rows were made for, `row < rows()`, and `src` is valid for reading
    /// [`QuantRows::cols`] values.
    #[inline(always)]
    pub(crate) unsafe fn put_row<S: Simd>(
        &mut self,
        s: S,
        row: usize,
        src: *const f32,
        largest: f32,
    ) {
        debug_assert!(row < self.rows());
        let factor = s.splat(if largest > 0.0 { Q_MAX / largest } else { 0.0 });
        self.scales[row] = largest / Q_MAX;
        // SAFETY: the row has `stride` activations, a multiple of every LANES and at least `cols`.
        unsafe {
            let to = self
                .bytes
                .as_mut_ptr()
                .cast::<S::Act>()
                .add(row * self.stride);
            let whole = self.cols - self.cols % S::LANES;
            for c in (0..whole).step_by(S::LANES) {
                s.store_act(to.add(c), s.mul(s.load(src.add(c)), factor));
            }
            if whole < self.cols {
                let x = s.load_n(src.add(whole), self.cols - whole, 0.0);
                s.store_act(to.add(whole), s.mul(x, factor));
            }
        }
    }
}

struct QuantizeRows<'a> {
    to: &'a mut QuantRows,
    first: usize,
    src: &'a [f32],
}

impl Kernel for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (r, row) in self.src.chunks_exact(self.to.cols).enumerate() {
            let largest = fold(s, row, Magnitude);
            // SAFETY: `quantize` checked the row count and runs the rows' own tier; `row` has `cols` values.
            unsafe { self.to.put_row(s, self.first + r, row.as_ptr(), largest) }
        }
    }
}

/// Quantizes `weights`, one output channel of `k` values after another, to i8 with one scale a channel:
/// w is about q * scale, q in -127..=127.
///
/// # Errors
/// `weights` is not a whole number of channels.
pub fn quantize_weights(weights: &[f32], k: usize) -> Result<(Vec<i8>, Vec<f32>), ShapeError> {
    exactly("weights", weights.len() / k.max(1) * k, weights.len())?;
    let mut quantized = Vec::with_capacity(weights.len());
    let mut scales = Vec::with_capacity(weights.len() / k.max(1));
    for channel in weights.chunks_exact(k.max(1)) {
        let largest = channel.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let factor = if largest > 0.0 { Q_MAX / largest } else { 0.0 };
        scales.push(largest / Q_MAX);
        quantized.extend(channel.iter().map(|x| (x * factor).round_ties_even() as i8));
    }
    Ok((quantized, scales))
}

/// Splits `len` into at most `parts` ranges of nearly equal length, each but the last a multiple of `unit`.
pub(crate) fn split(len: usize, parts: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let units = len.div_ceil(unit);
    let parts = parts.clamp(1, units.max(1));
    let edge = move |part: usize| (units * part / parts * unit).min(len);
    (0..parts).map(move |part| edge(part)..edge(part + 1))
}
