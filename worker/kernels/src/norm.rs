//! Layer normalization (Ba, Kiros and Hinton, 2016, equation 4), alone or with the quantization
//! that the next linear layer needs.

use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::quant::{Extremes, QuantRows};
use crate::simd::rows::{SquaresFrom, Sum, fold, read, write};
use crate::simd::{Kernel, Simd};

/// y = (x - mean) / sqrt(variance + eps) * gain + bias over each row.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// # Errors
    /// `gain` is empty, or `bias` has another length.
    pub fn new(gain: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<Self, ShapeError> {
        at_least("layer norm gain", 1, gain.len())?;
        exactly("layer norm bias", gain.len(), bias.len())?;
        Ok(Self { gain, bias, eps })
    }

    /// Values a row.
    pub fn cols(&self) -> usize {
        self.gain.len()
    }

    /// Memory held by gain and bias.
    pub fn bytes(&self) -> usize {
        size_of_val(self.gain.as_slice()) + size_of_val(self.bias.as_slice())
    }

    /// Normalizes rows in place.
    ///
    /// # Errors
    /// `rows` is not whole rows.
    pub fn apply(&self, isa: Isa, rows: &mut [f32]) -> Result<(), ShapeError> {
        self.whole(rows)?;
        isa.run(Normalize { norm: self, rows });
        Ok(())
    }

    /// Normalizes rows in place and quantizes them into `to`, from its row 0 on.
    ///
    /// # Errors
    /// `rows` is not whole rows, or `to` has another width or too little room.
    pub fn apply_quantize(&self, rows: &mut [f32], to: &mut QuantRows) -> Result<(), ShapeError> {
        let count = self.whole(rows)?;
        exactly("quantized row", self.cols(), to.cols())?;
        at_most("quantized rows", to.rows(), count)?;
        to.isa().run(NormalizeQuantize {
            norm: self,
            rows,
            to,
        });
        Ok(())
    }

    fn whole(&self, rows: &[f32]) -> Result<usize, ShapeError> {
        let count = rows.len() / self.cols();
        exactly("rows to normalize", count * self.cols(), rows.len())?;
        Ok(count)
    }

    /// Normalizes a row and returns its extremes.
    #[inline(always)]
    fn row<S: Simd>(&self, s: S, row: &mut [f32]) -> Extremes {
        let per = 1.0 / row.len() as f32;
        let mean = fold(s, row, Sum) * per;
        let variance = fold(s, row, SquaresFrom(mean)) * per;
        let factor = s.splat(1.0 / (variance + self.eps).sqrt());
        let shift = s.mul(s.splat(-mean), factor);
        let (mut low, mut high) = (s.splat(f32::INFINITY), s.splat(f32::NEG_INFINITY));
        let whole = row.len() - row.len() % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: a whole vector is left of the row, and gain and bias are as long.
            unsafe {
                let to = row.as_mut_ptr().add(at);
                let x = s.mul_add(s.load(to), factor, shift);
                let gain = s.load(self.gain.as_ptr().add(at));
                let y = s.mul_add(x, gain, s.load(self.bias.as_ptr().add(at)));
                (low, high) = (s.min(y, low), s.max(y, high));
                s.store(to, y);
            }
        }
        if whole < row.len() {
            let x = s.mul_add(read(s, row, whole, 0.0), factor, shift);
            let gain = read(s, &self.gain, whole, 0.0);
            write(
                s,
                row,
                whole,
                s.mul_add(x, gain, read(s, &self.bias, whole, 0.0)),
            );
            // Lanes past the end repeat a value of the row.
            let y = read(s, row, whole, row[whole]);
            (low, high) = (s.min(y, low), s.max(y, high));
        }
        Extremes::within(s, low, high)
    }
}

struct Normalize<'a> {
    norm: &'a LayerNorm,
    rows: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.chunks_exact_mut(self.norm.cols()) {
            self.norm.row(s, row);
        }
    }
}

struct NormalizeQuantize<'a> {
    norm: &'a LayerNorm,
    rows: &'a mut [f32],
    to: &'a mut QuantRows,
}

impl Kernel for NormalizeQuantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (r, row) in self.rows.chunks_exact_mut(self.norm.cols()).enumerate() {
            let extremes = self.norm.row(s, row);
            // SAFETY: `apply_quantize` checked room and width, and runs the isa of `to`.
            unsafe { self.to.put_row(s, r, row.as_ptr(), extremes) }
        }
    }
}
