//! From the rows of a sequence to one embedding.

use crate::error::{ShapeError, at_least, exactly};
use crate::isa::Isa;
use crate::simd::rows::{SquaresFrom, fold, read, write};
use crate::simd::{Kernel, Simd};

/// How a sequence's rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first row.
    Cls,
    /// The largest value of each column.
    Max,
}

/// Pools the rows of one sequence, each as long as `out`.
///
/// # Errors
/// There is no row, or `rows` is not whole rows.
pub fn pool(isa: Isa, pooling: Pooling, rows: &[f32], out: &mut [f32]) -> Result<(), ShapeError> {
    at_least("embedding width", 1, out.len())?;
    at_least("values to pool", out.len(), rows.len())?;
    exactly(
        "values to pool",
        rows.len() / out.len() * out.len(),
        rows.len(),
    )?;
    isa.run(Pool { pooling, rows, out });
    Ok(())
}

/// Divides a row by its Euclidean length, or by 1e-12 where it is shorter.
pub fn normalize(isa: Isa, row: &mut [f32]) {
    isa.run(Normalize { row });
}

struct Pool<'a> {
    pooling: Pooling,
    rows: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let cols = self.out.len();
        let (first, rest) = self.rows.split_at(cols);
        self.out.copy_from_slice(first);
        match self.pooling {
            Pooling::Cls => {}
            Pooling::Max => {
                for at in (0..cols).step_by(S::LANES) {
                    let mut y = read(s, first, at, 0.0);
                    for row in rest.chunks_exact(cols) {
                        y = s.max(read(s, row, at, 0.0), y);
                    }
                    write(s, self.out, at, y);
                }
            }
            Pooling::Mean => {
                let per = s.splat(cols as f32 / self.rows.len() as f32);
                for at in (0..cols).step_by(S::LANES) {
                    let mut y = read(s, first, at, 0.0);
                    for row in rest.chunks_exact(cols) {
                        y = s.add(read(s, row, at, 0.0), y);
                    }
                    write(s, self.out, at, s.mul(y, per));
                }
            }
        }
    }
}

struct Normalize<'a> {
    row: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let length = fold(s, self.row, SquaresFrom(0.0)).sqrt();
        let factor = s.splat(1.0 / length.max(1e-12));
        for at in (0..self.row.len()).step_by(S::LANES) {
            let x = read(s, self.row, at, 0.0);
            write(s, self.row, at, s.mul(x, factor));
        }
    }
}
