//! One key and value head over the queries of one sequence.
//!
//! A few rows, each a query of one of the heads that share the keys, go through scores, softmax and
//! values together. Each row's result is made of the same operations in the same order whatever
//! other rows are in its tile: keys that it does not see count as exact zeros.

use std::ops::Range;

use super::cache::{CacheView, KvType, PAGE_TOKENS, PAGE_VALUES_PAD};
use super::{Bias, PagedAttention, Visible};
use crate::isa::Isa;
use crate::math::{exp2_of_negative, tanh};
use crate::simd::number::{AsF16, AsF32, Storable};
use crate::simd::{Kernel, MAX_PANEL, MAX_TILE_ROWS, Simd};

pub(crate) struct Attend<'a> {
    pub(crate) shape: PagedAttention,
    pub(crate) cache: CacheView<'a>,
    pub(crate) layer: usize,
    pub(crate) pages: &'a [u32],
    pub(crate) kv_head: usize,
    /// The first query's values of the first head of the group, and from one query to the next.
    pub(crate) queries: *const f32,
    pub(crate) stride: usize,
    /// The position of the first query.
    pub(crate) start: usize,
    pub(crate) rows: usize,
    pub(crate) visible: Visible,
    pub(crate) bias: Option<Bias<'a>>,
    /// As much as [`super::PagedScratch::values_for`] says.
    pub(crate) scratch: &'a mut [f32],
    /// Where the first query's result of the first head of the group goes.
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
}

impl Attend<'_> {
    /// # Safety
    /// Queries and results are valid for reading and writing `rows` rows of the group's heads, and
    /// nobody else uses the results now; layer, head and pages are in the cache, the pages hold
    /// every visible key, which was written before and is written by nobody now; scratch and bias
    /// are large enough for them.
    pub(crate) unsafe fn run(self, isa: Isa) {
        isa.run(self);
    }
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        // SAFETY: the promise of `Attend::run`.
        unsafe {
            match self.cache.kind {
                KvType::F32 => self.tiles::<S, AsF32>(s),
                KvType::F16 => self.tiles::<S, AsF16>(s),
            }
        }
    }
}

/// The rows of one tile and the keys that any of them sees, in whole pages.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    rows: usize,
    pages: (usize, usize),
}

impl Tile {
    /// Scores of a row.
    #[inline(always)]
    fn stride(&self) -> usize {
        (self.pages.1 - self.pages.0) * PAGE_TOKENS
    }
}

impl Attend<'_> {
    /// Heads that share the keys.
    #[inline(always)]
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// # Safety
    /// As [`Attend::run`], `T` being the kind of the cache.
    #[inline(always)]
    unsafe fn tiles<S: Simd, T: Storable>(&mut self, s: S) {
        let rows = self.rows * self.group();
        for first in (0..rows).step_by(S::TILE_ROWS) {
            let count = S::TILE_ROWS.min(rows - first);
            let low = self.visible.keys(self.start + first / self.group()).start;
            let last = self.start + (first + count - 1) / self.group();
            let high = self.visible.keys(last).end;
            let tile = Tile {
                first,
                rows: count,
                pages: (low / PAGE_TOKENS, high.div_ceil(PAGE_TOKENS)),
            };
            // SAFETY: each arm works on as many rows as it is chosen for.
            unsafe {
                match count {
                    1 => self.tile::<S, T, 1>(s, tile),
                    2 => self.tile::<S, T, 2>(s, tile),
                    3 => self.tile::<S, T, 3>(s, tile),
                    4 => self.tile::<S, T, 4>(s, tile),
                    5 if S::TILE_ROWS >= 5 => self.tile::<S, T, 5>(s, tile),
                    6 if S::TILE_ROWS >= 6 => self.tile::<S, T, 6>(s, tile),
                    7 if S::TILE_ROWS >= 7 => self.tile::<S, T, 7>(s, tile),
                    8 if S::TILE_ROWS >= 8 => self.tile::<S, T, 8>(s, tile),
                    _ => debug_assert!(false, "a tile of {count} rows"),
                }
            }
        }
    }

    /// # Safety
    /// As [`Attend::run`] for a tile of R rows.
    #[inline(always)]
    unsafe fn tile<S: Simd, T: Storable, const R: usize>(&mut self, s: S, tile: Tile) {
        // SAFETY: the caller's promise; scratch is split inside `values_for`.
        unsafe {
            self.load_queries(s, tile);
            self.scores::<S, T, R>(s, tile);
            let mut factors = [0.0; MAX_TILE_ROWS];
            for (r, factor) in factors.iter_mut().enumerate().take(R) {
                *factor = self.softmax(s, tile, r);
            }
            self.mix::<S, T, R>(s, tile, factors);
        }
    }

    /// Where row `r`'s head begins in rows `stride` apart, and its query.
    #[inline(always)]
    fn place(&self, tile: Tile, r: usize, stride: usize) -> (usize, usize) {
        let (query, head) = (
            (tile.first + r) / self.group(),
            (tile.first + r) % self.group(),
        );
        (query * stride + head * self.shape.head_dim, query)
    }

    /// The tile's queries side by side at the begin of the scratch, scaled.
    ///
    /// # Safety
    /// As [`Attend::run`].
    #[inline(always)]
    unsafe fn load_queries<S: Simd>(&mut self, s: S, tile: Tile) {
        let dim = self.shape.head_dim;
        for r in 0..tile.rows {
            let (from, _) = self.place(tile, r, self.stride);
            let to = self.scratch[r * dim..].as_mut_ptr();
            for d in (0..dim).step_by(S::LANES) {
                let n = S::LANES.min(dim - d);
                // SAFETY: n values of the head are left.
                unsafe {
                    let x = s.load_n(self.queries.add(from + d), n, 0.0);
                    s.store_n(to.add(d), n, s.mul(x, s.splat(self.shape.scale)));
                }
            }
        }
    }

    /// Where the scores begin in the scratch.
    #[inline(always)]
    fn scores_at(&self) -> usize {
        MAX_TILE_ROWS * self.shape.head_dim
    }

    /// Scores of R rows with every key of the tile's pages.
    ///
    /// # Safety
    /// As [`Attend::run`].
    #[inline(always)]
    unsafe fn scores<S: Simd, T: Storable, const R: usize>(&mut self, s: S, tile: Tile) {
        let (dim, stride) = (self.shape.head_dim, tile.stride());
        let at = self.scores_at();
        let (queries, scores) = self.scratch.split_at_mut(at);
        let (queries, scores) = (queries.as_ptr(), scores.as_mut_ptr());
        for (i, &page) in self.pages[tile.pages.0..tile.pages.1].iter().enumerate() {
            // SAFETY: a page has dim lines of PAGE_TOKENS keys; the scratch holds a score for each
            // key of each row.
            unsafe {
                let keys = self.cache.keys::<T>(self.layer, page, self.kv_head);
                for key in (0..PAGE_TOKENS).step_by(2 * S::LANES) {
                    let mut acc = [[s.splat(0.0); 2]; R];
                    for d in 0..dim {
                        let line = keys.add(d * PAGE_TOKENS + key).cast_const();
                        let k = [T::load(s, line), T::load(s, line.add(S::LANES))];
                        for (r, acc) in acc.iter_mut().enumerate() {
                            let q = s.splat(*queries.add(r * dim + d));
                            *acc = [s.mul_add(q, k[0], acc[0]), s.mul_add(q, k[1], acc[1])];
                        }
                    }
                    for (r, acc) in acc.into_iter().enumerate() {
                        let to = scores.add(r * stride + i * PAGE_TOKENS + key);
                        s.store(to, acc[0]);
                        s.store(to.add(S::LANES), acc[1]);
                    }
                }
            }
        }
    }

    /// Replaces a row of scores by e^(score - largest), by zero where the row does not see the key,
    /// and returns one over their sum.
    #[inline(always)]
    fn softmax<S: Simd>(&mut self, s: S, tile: Tile, r: usize) -> f32 {
        let (head, query) = self.place(tile, r, 0);
        let position = self.start + query;
        let origin = tile.pages.0 * PAGE_TOKENS;
        let seen = self.visible.keys(position);
        let (low, high) = (seen.start - origin, seen.end - origin);
        let stride = tile.stride();
        let at = self.scores_at() + r * stride;
        let head = self.kv_head * self.group() + head / self.shape.head_dim;
        if let Some(bias) = self.bias {
            let first = head * bias.len + bias.center + seen.start - position;
            let row = &mut self.scratch[at + low..at + high];
            let bias = &bias.values[first..][..row.len()];
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
        let row = &mut self.scratch[at..][..stride];
        if let Some(cap) = self.shape.softcap {
            softcap(s, &mut row[low..high], cap);
        }
        exponentials(s, row, low..high)
    }

    /// The values, weighted by the scores.
    ///
    /// # Safety
    /// As [`Attend::run`].
    #[inline(always)]
    unsafe fn mix<S: Simd, T: Storable, const R: usize>(
        &mut self,
        s: S,
        tile: Tile,
        factors: [f32; MAX_TILE_ROWS],
    ) {
        let (dim, stride) = (self.shape.head_dim, tile.stride());
        let line = dim.next_multiple_of(PAGE_VALUES_PAD);
        let scores = self.scratch[self.scores_at()..].as_ptr();
        for column in (0..dim).step_by(2 * S::LANES) {
            let mut acc = [[s.splat(0.0); 2]; R];
            for (i, &page) in self.pages[tile.pages.0..tile.pages.1].iter().enumerate() {
                // SAFETY: a page has PAGE_TOKENS rows of values, padded to two vectors of any isa;
                // every row has a score for each.
                unsafe {
                    let values = self.cache.values::<T>(self.layer, page, self.kv_head);
                    let values = values.add(column).cast_const();
                    for key in 0..PAGE_TOKENS {
                        let value = values.add(key * line);
                        let v = [T::load(s, value), T::load(s, value.add(S::LANES))];
                        for (r, acc) in acc.iter_mut().enumerate() {
                            let p = s.splat(*scores.add(r * stride + i * PAGE_TOKENS + key));
                            *acc = [s.mul_add(p, v[0], acc[0]), s.mul_add(p, v[1], acc[1])];
                        }
                    }
                }
            }
            for (r, acc) in acc.into_iter().enumerate() {
                let (to, _) = self.place(tile, r, self.out_stride);
                for (v, acc) in acc.into_iter().enumerate() {
                    let d = column + v * S::LANES;
                    if d < dim {
                        let x = s.mul(acc, s.splat(factors[r]));
                        // SAFETY: as many lanes as the head has left.
                        unsafe { s.store_n(self.out.add(to + d), S::LANES.min(dim - d), x) };
                    }
                }
            }
        }
    }
}

/// x = cap * tanh(x / cap).
#[inline(always)]
pub(crate) fn softcap<S: Simd>(s: S, row: &mut [f32], cap: f32) {
    for at in (0..row.len()).step_by(S::LANES) {
        let x = s.mul(crate::simd::rows::read(s, row, at, 0.0), s.splat(1.0 / cap));
        crate::simd::rows::write(s, row, at, s.mul(tanh(s, x), s.splat(cap)));
    }
}

/// The softmax of `row[seen]`, unscaled: returns one over the sum. Everything else becomes zero.
/// `row` is whole vectors. Lanes keep their place whatever `seen` is, so sums are made in the same
/// order.
#[inline(always)]
fn exponentials<S: Simd>(s: S, row: &mut [f32], seen: Range<usize>) -> f32 {
    let (low, high) = (
        seen.start / S::LANES * S::LANES,
        seen.end.next_multiple_of(S::LANES),
    );
    row[..seen.start].fill(f32::NEG_INFINITY);
    row[seen.end..].fill(f32::NEG_INFINITY);
    let mut largest = s.splat(f32::NEG_INFINITY);
    for at in (low..high).step_by(S::LANES) {
        // SAFETY: the row is whole vectors.
        largest = s.max(unsafe { s.load(row.as_ptr().add(at)) }, largest);
    }
    let largest = s.splat(s.largest(largest));
    let log2e = s.splat(std::f32::consts::LOG2_E);
    let mut sum = s.splat(0.0);
    for at in (low..high).step_by(S::LANES) {
        // SAFETY: as above.
        unsafe {
            let to = row.as_mut_ptr().add(at);
            let x = s.load(to);
            let mut y = exp2_of_negative(s, s.mul(s.sub(x, largest), log2e));
            if at < seen.start || at + S::LANES > seen.end {
                y = masked(s, y, at, &seen);
            }
            sum = s.add(sum, y);
            s.store(to, y);
        }
    }
    row[..low].fill(0.0);
    row[high..].fill(0.0);
    1.0 / s.sum(sum)
}

/// Zero in the lanes whose place is not in `seen`.
#[inline(always)]
fn masked<S: Simd>(s: S, y: S::F, at: usize, seen: &Range<usize>) -> S::F {
    let mut lanes = [0.0f32; MAX_PANEL];
    // SAFETY: the array is longer than a vector.
    unsafe {
        s.store(lanes.as_mut_ptr(), y);
        for (lane, y) in lanes.iter_mut().enumerate().take(S::LANES) {
            if !seen.contains(&(at + lane)) {
                *y = 0.0;
            }
        }
        s.load(lanes.as_ptr())
    }
}
