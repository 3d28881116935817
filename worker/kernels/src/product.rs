//! The f32 product: a few rows by one panel of columns, in registers.

use crate::simd::{MAX_TILE_ROWS, Simd};

/// `out[r][c] = finish(sum over d of a[r][d] * b[d][c])`, a panel of at most two vectors of
/// columns.
pub(crate) struct Product<F> {
    pub(crate) a: *const f32,
    /// Values from one row of `a` to the next.
    pub(crate) a_stride: usize,
    /// `depth` lines of two vectors each.
    pub(crate) b: *const f32,
    pub(crate) depth: usize,
    pub(crate) finish: F,
    pub(crate) out: *mut f32,
    /// Values from one row of `out` to the next.
    pub(crate) out_stride: usize,
    pub(crate) columns: usize,
}

/// What happens to a vector of sums before it is memory. Implementations are `#[inline(always)]`.
pub(crate) trait Finish {
    /// Stores what becomes of row `r`'s vector `v`: its first `left` lanes, or all if there are
    /// more.
    ///
    /// # Safety
    /// `to` is valid for reading and writing as many values.
    unsafe fn put<S: Simd>(&self, s: S, r: usize, v: usize, x: S::F, to: *mut f32, left: usize);
}

/// Each row times its factor.
pub(crate) struct Scaled(pub(crate) [f32; MAX_TILE_ROWS]);

impl Finish for Scaled {
    #[inline(always)]
    unsafe fn put<S: Simd>(&self, s: S, r: usize, _: usize, x: S::F, to: *mut f32, left: usize) {
        let x = s.mul(x, s.splat(self.0[r]));
        // SAFETY: at most `left` values are written.
        unsafe {
            if left >= S::LANES {
                s.store(to, x);
            } else {
                s.store_n(to, left, x);
            }
        }
    }
}

impl<F: Finish> Product<F> {
    /// Multiplies `rows` rows, 1..=[`Simd::TILE_ROWS`].
    ///
    /// # Safety
    /// `a` is valid for reading `rows` rows of `depth` values, `b` for `depth` lines of two vectors
    /// (one, if `columns` fit in one), `out` for reading and writing `rows` rows of `columns`
    /// values; `columns` fit in two vectors.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd>(&self, s: S, rows: usize) {
        // SAFETY: the caller's promise; the arm reads one vector a line only where one holds the
        // columns.
        unsafe {
            if self.columns > S::LANES {
                self.rows::<S, 2>(s, rows);
            } else {
                self.rows::<S, 1>(s, rows);
            }
        }
    }

    /// # Safety
    /// As [`Product::run`].
    #[inline(always)]
    unsafe fn rows<S: Simd, const V: usize>(&self, s: S, rows: usize) {
        // SAFETY: each arm reads and writes as many rows as it is chosen for.
        unsafe {
            match rows {
                1 => self.tile::<S, 1, V>(s),
                2 => self.tile::<S, 2, V>(s),
                3 => self.tile::<S, 3, V>(s),
                4 => self.tile::<S, 4, V>(s),
                5 if S::TILE_ROWS >= 5 => self.tile::<S, 5, V>(s),
                6 if S::TILE_ROWS >= 6 => self.tile::<S, 6, V>(s),
                7 if S::TILE_ROWS >= 7 => self.tile::<S, 7, V>(s),
                8 if S::TILE_ROWS >= 8 => self.tile::<S, 8, V>(s),
                _ => debug_assert!(false, "a tile of {rows} rows"),
            }
        }
    }

    /// R rows by V vectors.
    ///
    /// # Safety
    /// As [`Product::run`].
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S) {
        // SAFETY: d < depth, r < rows and v < vectors stay inside what the caller promised.
        unsafe {
            let mut acc = [[s.splat(0.0); V]; R];
            for d in 0..self.depth {
                let line = self.b.add(d * 2 * S::LANES);
                let mut b = [s.splat(0.0); V];
                for (v, b) in b.iter_mut().enumerate() {
                    *b = s.load(line.add(v * S::LANES));
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = s.splat(*self.a.add(r * self.a_stride + d));
                    for v in 0..V {
                        acc[v] = s.mul_add(a, b[v], acc[v]);
                    }
                }
            }
            for (r, acc) in acc.into_iter().enumerate() {
                for (v, x) in acc.into_iter().enumerate() {
                    let column = v * S::LANES;
                    let to = self.out.add(r * self.out_stride + column);
                    self.finish.put(s, r, v, x, to, self.columns - column);
                }
            }
        }
    }
}
