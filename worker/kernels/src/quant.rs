//! Dynamic quantization of activations, a scale and an origin for each row, and symmetric
//! quantization of weights.
//!
//! Row r holds a = round((x - origin) * 255 / (max x - min x)), 0..=255, with origin = min x and
//! scale (max x - min x) / 255, so that x is about origin + a * scale (affine quantization, Jacob
//! et al., 2018, equation 1, per token). The origin is a real number: a linear layer takes it back
//! in f32, so zero need not be a step. The range follows the values: what an activation such as
//! GELU leaves has few negative values, and a symmetric range would spend half of the steps on
//! them.

use std::ops::Range;

use crate::aligned::Aligned;
use crate::error::{ShapeError, at_most, exactly};
use crate::isa::Isa;
use crate::simd::rows::read;
use crate::simd::{Kernel, Simd};

/// The largest magnitude of a quantized weight.
const WEIGHT_MAX: f32 = 127.0;

/// Steps from the smallest to the largest value of a row.
const STEPS: f32 = 255.0;

/// Rows of quantized activations, in the form that one isa multiplies.
pub struct QuantRows {
    isa: Isa,
    cols: usize,
    /// Elements from one row to the next.
    stride: usize,
    /// Activations of the isa's type: u8 or i16.
    bytes: Aligned<u8>,
    scales: Vec<f32>,
    origins: Vec<f32>,
}

/// Bytes that hold one activation of any isa.
const ACT_BYTES: usize = 2;

/// Row lengths are whole cache lines; one more where rows would otherwise all fall into the same
/// few sets of a first-level cache.
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
    pub fn new(isa: Isa, rows: usize, cols: usize) -> Self {
        let stride = stride_for(cols);
        let bytes = Aligned::zeroed(rows * stride * ACT_BYTES);
        Self {
            isa,
            cols,
            stride,
            bytes,
            scales: vec![0.0; rows],
            origins: vec![0.0; rows],
        }
    }

    /// Bytes that room for `rows` rows of `cols` activations takes.
    pub(crate) fn bytes_for(rows: usize, cols: usize) -> usize {
        rows * (stride_for(cols) * ACT_BYTES + 2 * size_of::<f32>())
    }

    pub(crate) fn bytes(&self) -> usize {
        let scales = size_of_val(self.scales.as_slice());
        self.bytes.bytes() + scales + size_of_val(self.origins.as_slice())
    }

    pub fn isa(&self) -> Isa {
        self.isa
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

    /// What zero of each row stands for.
    pub fn origins(&self) -> &[f32] {
        &self.origins
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
        self.isa.run(QuantizeRows {
            to: self,
            first,
            src,
        });
        Ok(())
    }

    /// The first activation of a row, as the isa's type.
    ///
    /// # Safety
    /// `S` is the isa that these rows were made for, and `row < rows()`.
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

    /// Quantizes one row whose extremes are known.
    ///
    /// # Safety
    /// `S` is the isa that these rows were made for, `row < rows()`, and `src` is valid for
    /// reading [`QuantRows::cols`] values.
    #[inline(always)]
    pub(crate) unsafe fn put_row<S: Simd>(
        &mut self,
        s: S,
        row: usize,
        src: *const f32,
        extremes: Extremes,
    ) {
        debug_assert!(row < self.rows());
        let range = extremes.largest - extremes.smallest;
        self.scales[row] = range / STEPS;
        self.origins[row] = extremes.smallest;
        // Subtracted and multiplied one after the other: fused, isas would round differently.
        let origin = s.splat(extremes.smallest);
        let factor = s.splat(if range > 0.0 { STEPS / range } else { 0.0 });
        // SAFETY: the row has `stride` activations, a multiple of every LANES and at least `cols`.
        unsafe {
            let to = self
                .bytes
                .as_mut_ptr()
                .cast::<S::Act>()
                .add(row * self.stride);
            let whole = self.cols - self.cols % S::LANES;
            for c in (0..whole).step_by(S::LANES) {
                s.store_act(to.add(c), s.mul(s.sub(s.load(src.add(c)), origin), factor));
            }
            if whole < self.cols {
                let x = s.load_n(src.add(whole), self.cols - whole, extremes.smallest);
                s.store_act(to.add(whole), s.mul(s.sub(x, origin), factor));
            }
        }
    }
}

/// The smallest and largest value of a row.
#[derive(Clone, Copy)]
pub(crate) struct Extremes {
    pub(crate) smallest: f32,
    pub(crate) largest: f32,
}

impl Extremes {
    /// Of a row that is not empty.
    #[inline(always)]
    fn of<S: Simd>(s: S, row: &[f32]) -> Self {
        let start = s.splat(row[0]);
        let (mut low, mut high) = ([start; 2], [start; 2]);
        let pairs = row.chunks_exact(2 * S::LANES);
        let rest = pairs.remainder();
        for pair in pairs {
            for i in 0..2 {
                // SAFETY: a pair holds two vectors.
                let x = unsafe { s.load(pair.as_ptr().add(i * S::LANES)) };
                low[i] = s.min(x, low[i]);
                high[i] = s.max(x, high[i]);
            }
        }
        for at in (0..rest.len()).step_by(S::LANES) {
            let x = read(s, rest, at, row[0]);
            low[0] = s.min(x, low[0]);
            high[0] = s.max(x, high[0]);
        }
        Self::within(s, s.min(low[0], low[1]), s.max(high[0], high[1]))
    }

    /// Of the lanes of a vector of smallest and one of largest values.
    #[inline(always)]
    pub(crate) fn within<S: Simd>(s: S, smallest: S::F, largest: S::F) -> Self {
        Self {
            smallest: s.smallest(smallest),
            largest: s.largest(largest),
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
            let extremes = Extremes::of(s, row);
            // SAFETY: `quantize` checked the row count and runs the rows' own isa; `row` has
            // `cols` values.
            unsafe { self.to.put_row(s, self.first + r, row.as_ptr(), extremes) }
        }
    }
}

/// Quantizes `weights`, one output channel of `k` values after another, to i8 with one scale a
/// channel: w is about q * scale, q in -127..=127.
///
/// # Errors
/// `weights` is not a whole number of channels.
pub fn quantize_weights(weights: &[f32], k: usize) -> Result<(Vec<i8>, Vec<f32>), ShapeError> {
    exactly("weights", weights.len() / k.max(1) * k, weights.len())?;
    let mut quantized = Vec::with_capacity(weights.len());
    let mut scales = Vec::with_capacity(weights.len() / k.max(1));
    for channel in weights.chunks_exact(k.max(1)) {
        let largest = channel.iter().fold(0.0f32, |a, x| a.max(x.abs()));
        let factor = if largest > 0.0 {
            WEIGHT_MAX / largest
        } else {
            0.0
        };
        scales.push(largest / WEIGHT_MAX);
        quantized.extend(channel.iter().map(|x| (x * factor).round_ties_even() as i8));
    }
    Ok((quantized, scales))
}

/// Splits `len` into at most `parts` ranges of nearly equal length, each but the last a multiple of
/// `unit`.
pub(crate) fn split(len: usize, parts: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let units = len.div_ceil(unit);
    let parts = parts.clamp(1, units.max(1));
    let edge = move |part: usize| (units * part / parts * unit).min(len);
    (0..parts).map(move |part| edge(part)..edge(part + 1))
}
