//! The small f32 product of attention: a few rows by one panel of columns, in registers.

use crate::simd::{MAX_TILE_ROWS, Simd};

/// `out[r][c] = factors[r] * sum over d of a[r][d] * b[d][c]`, a panel of at most two vectors of
/// columns.
pub(super) struct Product {
    pub(super) a: *const f32,
    /// Values from one row of `a` to the next.
    pub(super) a_stride: usize,
    /// `depth` lines of two vectors each.
    pub(super) b: *const f32,
    pub(super) depth: usize,
    pub(super) factors: [f32; MAX_TILE_ROWS],
    pub(super) out: *mut f32,
    /// Values from one row of `out` to the next.
    pub(super) out_stride: usize,
    pub(super) columns: usize,
}

impl Product {
    /// Multiplies `rows` rows, 1..=[`Simd::TILE_ROWS`].
    ///
    /// # Safety
    /// `a` is valid for reading `rows` rows of `depth` values, `b` for `depth` lines of two vectors
    /// (one, if `columns` fit in one), `out` for writing `rows` rows of `columns` values; `columns`
    /// fit in two vectors.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(&self, s: S, rows: usize) {
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
                let factor = s.splat(self.factors[r]);
                for (v, x) in acc.into_iter().enumerate() {
                    let column = v * S::LANES;
                    let to = self.out.add(r * self.out_stride + column);
                    let left = self.columns - column;
                    if left >= S::LANES {
                        s.store(to, s.mul(x, factor));
                    } else {
                        s.store_n(to, left, s.mul(x, factor));
                    }
                }
            }
        }
    }
}
