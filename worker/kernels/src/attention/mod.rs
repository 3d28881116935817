//! Attention over the rows of one sequence, in f32: softmax(Q K^T / sqrt(d)) V for each head
//! (Vaswani et al., 2017, equation 1).
//!
//! There is no padding: a sequence is a range of rows. For each head the keys are transposed and the
//! values gathered into panels, then a few queries at a time go through scores, softmax and values
//! while their scores stay in the first-level cache. Under a window only the keys that one of the
//! few queries sees are multiplied; a key that a query does not see has a weight of exactly zero, so
//! that a query's result does not depend on which others are computed with it.

mod bias;

use std::ops::Range;

pub use bias::RelativeBias;
pub(crate) use bias::bucket;

use crate::aligned::Aligned;
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::product::{Product, Scaled};
use crate::simd::rows::{read, write};
use crate::simd::{Kernel, MAX_PANEL, MAX_TILE_ROWS, Simd};
use crate::softmax::exponentials_of_tile;

/// The shape of a multi-head attention. Its input is rows of queries, keys and values side by side,
/// each `heads * head_dim` wide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    pub heads: usize,
    pub head_dim: usize,
    /// What scores are multiplied with, usually 1 / sqrt(head_dim).
    pub scale: f32,
}

/// Working memory for sequences up to a length.
pub struct AttentionScratch {
    max_len: usize,
    head_dim: usize,
    /// `[key / panel][head_dim][key % panel]`
    keys: Aligned<f32>,
    /// `[column / panel][key][column % panel]`
    values: Aligned<f32>,
    /// A tile's rows of scores.
    scores: Aligned<f32>,
}

impl AttentionScratch {
    pub fn new(max_len: usize, head_dim: usize) -> Self {
        let (keys, columns) = (padded(max_len), padded(head_dim));
        Self {
            max_len,
            head_dim,
            keys: Aligned::zeroed(keys * head_dim),
            values: Aligned::zeroed(columns * max_len),
            scores: Aligned::zeroed(MAX_TILE_ROWS * keys),
        }
    }

    /// Values that a scratch of this size holds.
    pub(crate) fn values_for(max_len: usize, head_dim: usize) -> usize {
        let (keys, columns) = (padded(max_len), padded(head_dim));
        keys * head_dim + columns * max_len + MAX_TILE_ROWS * keys
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes() + self.scores.bytes()
    }
}

/// Whole panels of any isa.
fn padded(len: usize) -> usize {
    len.next_multiple_of(MAX_PANEL)
}

impl Attention {
    /// Width of the queries, of the keys, of the values and of the result.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Lets queries attend to their sequence, as far as `mask` lets them see. `out` is one row of
    /// [`Attention::width`] for each query.
    ///
    /// # Errors
    /// A range is outside its matrix, the sequence is longer than the scratch or the bias allows,
    /// or a matrix or the bias has another shape.
    pub fn run(
        &self,
        isa: Isa,
        from: Queries<'_>,
        mask: Mask<'_>,
        scratch: &mut AttentionScratch,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let rows = from.qkv.len() / (3 * self.width()).max(1);
        exactly(
            "queries, keys and values",
            rows * 3 * self.width(),
            from.qkv.len(),
        )?;
        at_most("end of the sequence", rows, from.sequence.end)?;
        at_least(
            "end of the sequence",
            from.sequence.start,
            from.sequence.end,
        )?;
        at_least("first query", from.sequence.start, from.queries.start)?;
        at_most("end of the queries", from.sequence.end, from.queries.end)?;
        at_least("end of the queries", from.queries.start, from.queries.end)?;
        at_most("sequence", scratch.max_len, from.sequence.len())?;
        exactly("head width of the scratch", self.head_dim, scratch.head_dim)?;
        exactly(
            "attention output",
            from.queries.len() * self.width(),
            out.len(),
        )?;
        if let Mask::Bias(bias) = mask {
            exactly("heads of the relative bias", self.heads, bias.heads())?;
            at_most(
                "sequence under a relative bias",
                bias.max_len(),
                from.sequence.len(),
            )?;
        }
        if from.queries.is_empty() {
            return Ok(());
        }
        let Queries {
            qkv,
            sequence,
            queries,
        } = from;
        isa.run(Attend {
            shape: *self,
            qkv,
            keys: mask.keys(&sequence, &queries),
            queries,
            mask,
            scratch,
            out,
        });
        Ok(())
    }
}

/// What is done to the scores before the softmax.
#[derive(Clone, Copy, Debug)]
pub enum Mask<'a> {
    /// Nothing: a query sees its whole sequence.
    None,
    /// A bias is added.
    Bias(&'a RelativeBias),
    /// A query sees the keys that are at most so many places away from it, on both sides.
    Window(usize),
}

impl Mask<'_> {
    /// The rows of a sequence that some of the queries see, from the beginning of a panel on, so that
    /// a key's place in its vector does not depend on the queries.
    fn keys(self, sequence: &Range<usize>, queries: &Range<usize>) -> Range<usize> {
        let Mask::Window(window) = self else {
            return sequence.clone();
        };
        let first = (queries.start - sequence.start).saturating_sub(window);
        let first = first - first % MAX_PANEL;
        let end = queries.end.saturating_add(window);
        sequence.start + first..sequence.end.min(end)
    }
}

/// Which rows attend to which.
#[derive(Clone, Debug)]
pub struct Queries<'a> {
    /// Rows of queries, keys and values side by side.
    pub qkv: &'a [f32],
    /// The rows of one sequence.
    pub sequence: Range<usize>,
    /// Those of its rows whose result is wanted.
    pub queries: Range<usize>,
}

struct Attend<'a> {
    shape: Attention,
    qkv: &'a [f32],
    /// The rows whose keys and values are used.
    keys: Range<usize>,
    queries: Range<usize>,
    mask: Mask<'a>,
    scratch: &'a mut AttentionScratch,
    out: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for head in 0..self.shape.heads {
            self.pack_keys(s, head);
            self.pack_values(s, head);
            for first in self.queries.clone().step_by(S::TILE_ROWS) {
                let tile = self.tile::<S>(head, first);
                self.scores(s, &tile);
                match self.mask {
                    Mask::None => {}
                    Mask::Bias(bias) => self.add_bias(s, bias, &tile),
                    Mask::Window(window) => self.hide(&tile, window, f32::NEG_INFINITY),
                }
                let scores = self.scratch.scores.as_mut_ptr();
                let (stride, len) = (tile.stride, tile.keys.len());
                // SAFETY: the scratch holds a tile's rows of scores, each whole vectors.
                let factors = unsafe { exponentials_of_tile(s, scores, tile.rows, stride, len) };
                if let Mask::Window(window) = self.mask {
                    self.hide(&tile, window, 0.0);
                }
                self.mix(s, &tile, factors);
            }
        }
    }
}

/// Some queries of one head.
struct Tile {
    head: usize,
    /// The row of the first query.
    first: usize,
    rows: usize,
    /// The keys that one of them sees, counted from the first that is packed, from the beginning of a
    /// panel on.
    keys: Range<usize>,
    /// Values from one row of scores to the next: whole vectors.
    stride: usize,
}

impl Attend<'_> {
    #[inline(always)]
    fn tile<S: Simd>(&self, head: usize, first: usize) -> Tile {
        let rows = S::TILE_ROWS.min(self.queries.end - first);
        let seen = self.mask.keys(&self.keys, &(first..first + rows));
        let keys = seen.start - self.keys.start..seen.end - self.keys.start;
        Tile {
            head,
            first,
            rows,
            stride: keys.len().next_multiple_of(S::LANES),
            keys,
        }
    }

    /// From one row of queries, keys and values to the next.
    #[inline(always)]
    fn stride(&self) -> usize {
        3 * self.shape.width()
    }

    /// Where `part` (0 queries, 1 keys, 2 values) of a row's head begins.
    #[inline(always)]
    fn part(&self, row: usize, part: usize, head: usize) -> *const f32 {
        let at = row * self.stride() + part * self.shape.width() + head * self.shape.head_dim;
        self.qkv[at..].as_ptr()
    }

    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, s: S, head: usize) {
        let (len, dim) = (self.keys.len(), self.shape.head_dim);
        for key in (0..len).step_by(S::LANES) {
            let from = self.part(self.keys.start + key, 1, head);
            let panel = 2 * S::LANES;
            let to = key / panel * panel * dim + key % panel;
            for d in (0..dim).step_by(S::LANES) {
                let (rows, cols) = (S::LANES.min(len - key), S::LANES.min(dim - d));
                let to = self.scratch.keys[to + d * panel..].as_mut_ptr();
                // SAFETY: the block's keys and columns are inside this head; the scratch holds
                // `dim` lines of two vectors for each panel of keys.
                unsafe { s.transpose(from.add(d), self.stride(), rows, cols, to) }
            }
        }
    }

    #[inline(always)]
    fn pack_values<S: Simd>(&mut self, s: S, head: usize) {
        let (len, dim) = (self.keys.len(), self.shape.head_dim);
        for column in (0..dim).step_by(S::LANES) {
            let panel = 2 * S::LANES;
            let to = column / panel * panel * len + column % panel;
            let to = self.scratch.values[to..].as_mut_ptr();
            let cols = S::LANES.min(dim - column);
            for key in 0..len {
                let from = self.part(self.keys.start + key, 2, head);
                // SAFETY: the columns are inside this head; the scratch holds a line of two vectors
                // for each key and panel of columns.
                unsafe { s.store(to.add(key * panel), s.load_n(from.add(column), cols, 0.0)) }
            }
        }
    }

    #[inline(always)]
    fn scores<S: Simd>(&mut self, s: S, tile: &Tile) {
        let panel = 2 * S::LANES;
        for key in (0..tile.stride).step_by(panel) {
            let packed = (tile.keys.start + key) * self.shape.head_dim;
            let product = Product {
                a: self.part(tile.first, 0, tile.head),
                a_stride: self.stride(),
                b: self.scratch.keys[packed..].as_ptr(),
                depth: self.shape.head_dim,
                finish: Scaled([self.shape.scale; MAX_TILE_ROWS]),
                out: self.scratch.scores[key..].as_mut_ptr(),
                out_stride: tile.stride,
                columns: panel.min(tile.stride - key),
            };
            // SAFETY: the queries are rows of `qkv`, the keys were packed for this head, and the
            // scratch holds a tile's rows of scores.
            unsafe { product.run(s, tile.rows) }
        }
    }

    #[inline(always)]
    fn add_bias<S: Simd>(&mut self, s: S, bias: &RelativeBias, tile: &Tile) {
        let (len, stride) = (tile.keys.len(), tile.stride);
        for r in 0..tile.rows {
            let row = &mut self.scratch.scores[r * stride..][..len];
            let bias = bias.row(tile.head, tile.first + r - self.keys.start, len);
            for at in (0..len).step_by(S::LANES) {
                let x = s.add(read(s, row, at, 0.0), read(s, bias, at, 0.0));
                write(s, row, at, x);
            }
        }
    }

    /// Writes `value` for the keys that are more than `window` places away from a query.
    #[inline(always)]
    fn hide(&mut self, tile: &Tile, window: usize, value: f32) {
        for r in 0..tile.rows {
            let query = tile.first + r - self.keys.start;
            let row = &mut self.scratch.scores[r * tile.stride..][..tile.keys.len()];
            let seen = query.saturating_sub(window).max(tile.keys.start) - tile.keys.start;
            let end = query.saturating_add(window).saturating_add(1);
            let end = end.min(tile.keys.end) - tile.keys.start;
            row[..seen].fill(value);
            row[end..].fill(value);
        }
    }

    /// The values, weighted by the scores.
    #[inline(always)]
    fn mix<S: Simd>(&mut self, s: S, tile: &Tile, factors: [f32; MAX_TILE_ROWS]) {
        let (len, dim, width) = (self.keys.len(), self.shape.head_dim, self.shape.width());
        for column in (0..dim).step_by(2 * S::LANES) {
            let to = (tile.first - self.queries.start) * width + tile.head * dim + column;
            let packed = column * len + tile.keys.start * 2 * S::LANES;
            let product = Product {
                a: self.scratch.scores.as_ptr(),
                a_stride: tile.stride,
                b: self.scratch.values[packed..].as_ptr(),
                depth: tile.keys.len(),
                finish: Scaled(factors),
                out: self.out[to..].as_mut_ptr(),
                out_stride: width,
                columns: (2 * S::LANES).min(dim - column),
            };
            // SAFETY: `rows` rows of scores and the lines of the tile's values are in the scratch;
            // the output holds the queries' rows.
            unsafe { product.run(s, tile.rows) }
        }
    }
}
