//! Softmax over rows, in base two: e^(x - max) = 2^((x - max) * log2 e).

use crate::error::{ShapeError, exactly};
use crate::isa::Isa;
use crate::math::exp2_of_negative;
use crate::simd::rows::{Largest, fold, read, write};
use crate::simd::{Kernel, MAX_TILE_ROWS, Simd};

/// Replaces each row of `cols` values by its softmax.
///
/// # Errors
/// `rows` is not whole rows.
pub fn softmax(isa: Isa, rows: &mut [f32], cols: usize) -> Result<(), ShapeError> {
    exactly("softmax rows", rows.len() / cols.max(1) * cols, rows.len())?;
    isa.run(Softmax {
        rows,
        cols: cols.max(1),
    });
    Ok(())
}

struct Softmax<'a> {
    rows: &'a mut [f32],
    cols: usize,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in self.rows.chunks_exact_mut(self.cols) {
            let factor = s.splat(1.0 / exponentials(s, row));
            for at in (0..row.len()).step_by(S::LANES) {
                let x = read(s, row, at, 0.0);
                write(s, row, at, s.mul(x, factor));
            }
        }
    }
}

/// Replaces a row by e^(x - max) and returns the sum of those, which is at least one.
#[inline(always)]
fn exponentials<S: Simd>(s: S, row: &mut [f32]) -> f32 {
    let largest = s.splat(fold(s, row, Largest));
    let mut sum = s.splat(0.0);
    for at in (0..row.len()).step_by(S::LANES) {
        let y = exponential(s, read(s, row, at, f32::NEG_INFINITY), largest);
        sum = s.add(sum, y);
        write(s, row, at, y);
    }
    s.sum(sum)
}

/// e^(x - largest), or 2^-126 where that is smaller, such as at x = -inf. The difference comes
/// first: it is exact where it matters, however large both are.
#[inline(always)]
fn exponential<S: Simd>(s: S, x: S::F, largest: S::F) -> S::F {
    exp2_of_negative(
        s,
        s.mul(s.sub(x, largest), s.splat(std::f32::consts::LOG2_E)),
    )
}

/// As [`Softmax`] for the first `len` columns of a few rows at once, except that rows are left
/// unscaled: returns what each is to be multiplied with. The columns from `len` on become
/// negligible.
///
/// Each step is done for all rows before the next begins: the steps of one row wait for each other.
///
/// # Safety
/// `rows` is valid for reading and writing `count` rows of `stride` values, a multiple of LANES;
/// `stride - LANES < len <= stride` and `count <= MAX_TILE_ROWS`.
#[inline(always)]
pub(crate) unsafe fn exponentials_of_tile<S: Simd>(
    s: S,
    rows: *mut f32,
    count: usize,
    stride: usize,
    len: usize,
) -> [f32; MAX_TILE_ROWS] {
    let mut largest = [0.0; MAX_TILE_ROWS];
    let mut factors = [0.0; MAX_TILE_ROWS];
    // SAFETY: every access is to a whole vector of one of the rows.
    unsafe {
        for (r, largest) in largest.iter_mut().enumerate().take(count) {
            let row = rows.add(r * stride);
            let last = row.add(stride - S::LANES);
            s.store(
                last,
                s.load_n(last, len + S::LANES - stride, f32::NEG_INFINITY),
            );
            let mut max = s.load(row);
            for at in (S::LANES..stride).step_by(S::LANES) {
                max = s.max(s.load(row.add(at)), max);
            }
            *largest = s.largest(max);
        }
        for r in 0..count {
            let row = rows.add(r * stride);
            let largest = s.splat(largest[r]);
            let mut sum = s.splat(0.0);
            for at in (0..stride).step_by(S::LANES) {
                let y = exponential(s, s.load(row.add(at)), largest);
                sum = s.add(sum, y);
                s.store(row.add(at), y);
            }
            factors[r] = 1.0 / s.sum(sum);
        }
    }
    factors
}
