//! Root mean square normalization (Zhang and Sennrich, 2019, equation 4).

use crate::error::{ShapeError, at_least, exactly};
use crate::isa::Isa;
use crate::simd::rows::{SquaresFrom, fold, read};
use crate::simd::{Kernel, Simd};

/// y = x / sqrt(mean of x^2 + eps) * gain over each row.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    gain: Vec<f32>,
    eps: f32,
}

impl RmsNorm {
    /// # Errors
    /// `gain` is empty.
    pub fn new(gain: Vec<f32>, eps: f32) -> Result<Self, ShapeError> {
        at_least("norm gain", 1, gain.len())?;
        Ok(Self { gain, eps })
    }

    /// With a gain of 1 + `weight`: the weights of a checkpoint that stores their distance from one.
    ///
    /// # Errors
    /// As [`RmsNorm::new`].
    pub fn plus_one(weight: &[f32], eps: f32) -> Result<Self, ShapeError> {
        Self::new(weight.iter().map(|w| 1.0 + w).collect(), eps)
    }

    /// Values a row.
    pub fn cols(&self) -> usize {
        self.gain.len()
    }

    /// Memory held by the gain.
    pub fn bytes(&self) -> usize {
        size_of_val(self.gain.as_slice())
    }

    /// Normalizes the rows of `x` into `out`.
    ///
    /// # Errors
    /// `x` is not whole rows, or `out` is not as long.
    pub fn apply(&self, isa: Isa, x: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
        exactly(
            "rows to normalize",
            x.len() / self.cols() * self.cols(),
            x.len(),
        )?;
        exactly("normalized rows", x.len(), out.len())?;
        isa.run(Normalize { norm: self, x, out });
        Ok(())
    }

    /// Normalizes one row to `to`, which may be the row itself.
    ///
    /// # Safety
    /// `x` is valid for reading and `to` for writing [`RmsNorm::cols`] values.
    #[inline(always)]
    pub(crate) unsafe fn row<S: Simd>(&self, s: S, x: *const f32, to: *mut f32) {
        let cols = self.cols();
        // SAFETY: the caller's promise; the slice is not used after the first write.
        let squares = fold(
            s,
            unsafe { std::slice::from_raw_parts(x, cols) },
            SquaresFrom(0.0),
        );
        let factor = s.splat(1.0 / (squares / cols as f32 + self.eps).sqrt());
        for at in (0..cols).step_by(S::LANES) {
            let left = cols - at;
            let gain = s.mul(read(s, &self.gain, at, 0.0), factor);
            // SAFETY: as many lanes as the row has left.
            unsafe {
                if left >= S::LANES {
                    s.store(to.add(at), s.mul(s.load(x.add(at)), gain));
                } else {
                    s.store_n(
                        to.add(at),
                        left,
                        s.mul(s.load_n(x.add(at), left, 0.0), gain),
                    );
                }
            }
        }
    }
}

struct Normalize<'a> {
    norm: &'a RmsNorm,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.norm.cols();
        for (x, out) in self
            .x
            .chunks_exact(cols)
            .zip(self.out.chunks_exact_mut(cols))
        {
            // SAFETY: both are rows.
            unsafe { self.norm.row(s, x.as_ptr(), out.as_mut_ptr()) }
        }
    }
}
