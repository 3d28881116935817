//! Layer normalization (Ba, Kiros and Hinton, 2016, equation 4), alone or with the quantization
//! that the next linear layer needs.

use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::quant::{Extremes, QuantRows};
use crate::simd::rows::{SquaresFrom, Sum, fold, read};
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
        isa.run(Normalize {
            norm: self,
            from: None,
            to: rows,
        });
        Ok(())
    }

    /// Normalizes the rows of `x` into `out`.
    ///
    /// # Errors
    /// `x` is not whole rows, or `out` is not as long.
    pub fn apply_from(&self, isa: Isa, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
        self.whole(x)?;
        exactly("normalized rows", x.len(), out.len())?;
        isa.run(Normalize {
            norm: self,
            from: Some(x),
            to: out,
        });
        Ok(())
    }

    /// Normalizes rows in place and quantizes them into `quant`, from its row 0 on.
    ///
    /// # Errors
    /// `rows` is not whole rows, or `quant` has another width or too little room.
    pub fn apply_quantize(
        &self,
        rows: &mut [f32],
        quant: &mut QuantRows,
    ) -> Result<(), ShapeError> {
        self.fits(self.whole(rows)?, quant)?;
        quant.isa().run(NormalizeQuantize {
            norm: self,
            from: None,
            to: rows,
            quant,
        });
        Ok(())
    }

    /// Normalizes the rows of `x` into `out` and quantizes them into `quant`, from its row 0 on.
    ///
    /// # Errors
    /// As [`LayerNorm::apply_from`] and [`LayerNorm::apply_quantize`].
    pub fn apply_quantize_from(
        &self,
        x: &[f32],
        out: &mut [f32],
        quant: &mut QuantRows,
    ) -> Result<(), ShapeError> {
        self.fits(self.whole(x)?, quant)?;
        exactly("normalized rows", x.len(), out.len())?;
        quant.isa().run(NormalizeQuantize {
            norm: self,
            from: Some(x),
            to: out,
            quant,
        });
        Ok(())
    }

    fn whole(&self, rows: &[f32]) -> Result<usize, ShapeError> {
        let count = rows.len() / self.cols();
        exactly("rows to normalize", count * self.cols(), rows.len())?;
        Ok(count)
    }

    fn fits(&self, count: usize, quant: &QuantRows) -> Result<(), ShapeError> {
        exactly("quantized row", self.cols(), quant.cols())?;
        at_most("quantized rows", quant.rows(), count)
    }

    /// Normalizes one row to `to`, which may be the row itself, and returns its extremes.
    ///
    /// # Safety
    /// `x` is valid for reading and `to` for writing [`LayerNorm::cols`] values.
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, x: *const f32, to: *mut f32) -> Extremes {
        let cols = self.cols();
        let per = 1.0 / cols as f32;
        let (mean, variance) = {
            // SAFETY: the caller's promise; the slice is not used after the first write.
            let row = unsafe { std::slice::from_raw_parts(x, cols) };
            let mean = fold(s, row, Sum) * per;
            (mean, fold(s, row, SquaresFrom(mean)) * per)
        };
        let factor = s.splat(1.0 / (variance + self.eps).sqrt());
        let shift = s.mul(s.splat(-mean), factor);
        let (mut low, mut high) = (s.splat(f32::INFINITY), s.splat(f32::NEG_INFINITY));
        let whole = cols - cols % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: a whole vector is left of the row, and gain and bias are as long.
            unsafe {
                let x = s.mul_add(s.load(x.add(at)), factor, shift);
                let gain = s.load(self.gain.as_ptr().add(at));
                let y = s.mul_add(x, gain, s.load(self.bias.as_ptr().add(at)));
                (low, high) = (s.min(y, low), s.max(y, high));
                s.store(to.add(at), y);
            }
        }
        if whole < cols {
            let gain = read(s, &self.gain, whole, 0.0);
            let bias = read(s, &self.bias, whole, 0.0);
            // SAFETY: as many lanes as the row has left.
            let y = unsafe {
                let x = s.load_n(x.add(whole), cols - whole, 0.0);
                let y = s.mul_add(s.mul_add(x, factor, shift), gain, bias);
                s.store_n(to.add(whole), cols - whole, y);
                // Lanes past the end repeat a value of the row.
                s.load_n(to.add(whole), cols - whole, *to.add(whole))
            };
            (low, high) = (s.min(y, low), s.max(y, high));
        }
        Extremes::within(s, low, high)
    }
}

struct Normalize<'a> {
    norm: &'a LayerNorm,
    /// The rows of `to` if none.
    from: Option<&'a [f32]>,
    to: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.norm.cols();
        for (r, to) in self.to.chunks_exact_mut(cols).enumerate() {
            let to = to.as_mut_ptr();
            let x = source(self.from, r * cols, to);
            // SAFETY: both are rows.
            unsafe { self.norm.row(s, x, to) };
        }
    }
}

struct NormalizeQuantize<'a> {
    norm: &'a LayerNorm,
    /// The rows of `to` if none.
    from: Option<&'a [f32]>,
    to: &'a mut [f32],
    quant: &'a mut QuantRows,
}

impl Kernel for NormalizeQuantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.norm.cols();
        for (r, to) in self.to.chunks_exact_mut(cols).enumerate() {
            let to = to.as_mut_ptr();
            let x = source(self.from, r * cols, to);
            // SAFETY: both are rows; the callers checked room and width, and run the isa of
            // `quant`.
            unsafe {
                let extremes = self.norm.row(s, x, to);
                self.quant.put_row(s, r, to, extremes);
            }
        }
    }
}

/// Where a row is read from: at `at` of `from`, or where it is written.
#[inline(always)]
fn source(from: Option<&[f32]>, at: usize, to: *mut f32) -> *const f32 {
    match from {
        Some(from) => from[at..].as_ptr(),
        None => to,
    }
}
