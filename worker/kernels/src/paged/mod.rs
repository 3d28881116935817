//! Attention over keys and values that are kept in pages of 32 tokens.
//!
//! A cache is a pool of pages; who uses it owns the page table of each sequence and may let
//! sequences share pages that are full. Within a page the keys of a head lie transposed, so that
//! scores are computed for many keys at once, and the values lie row by row.

mod attend;
mod cache;

pub(crate) use attend::{Attend, softcap};
pub(crate) use cache::{CacheView, Place};
pub use cache::{KvCache, KvShape, KvType, PAGE_TOKENS};

use std::ops::Range;

use crate::aligned::Aligned;
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::isa::Isa;
use crate::simd::MAX_TILE_ROWS;

/// An attention of `heads` query heads, groups of which share a key and value head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PagedAttention {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// What scores are multiplied with, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// Scores become c * tanh(score / c) (Gemma 2, section 2).
    pub softcap: Option<f32>,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Those up to its own position; of those only the last `window`, if there is one.
    Causal { window: Option<usize> },
    /// The first so many, whatever its position: attention over another sequence.
    First(usize),
}

impl Visible {
    /// The keys that the query at `position` sees.
    #[inline(always)]
    pub(crate) fn keys(self, position: usize) -> Range<usize> {
        match self {
            Self::Causal { window } => {
                let end = position + 1;
                end - window.unwrap_or(end).min(end)..end
            }
            Self::First(keys) => 0..keys,
        }
    }
}

/// The queries of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct PagedQueries<'a> {
    /// Rows of `heads * head_dim` values, `stride` apart.
    pub values: &'a [f32],
    pub stride: usize,
    /// The position of the first row.
    pub start: usize,
    pub pages: &'a [u32],
    pub visible: Visible,
    /// What is added to the scores: for each head `bias_len` values, the one for key - query +
    /// bias_len / 2 (distances outside are refused).
    pub bias: Option<Bias<'a>>,
}

/// A bias by head and distance: `values[head * len + key - query + center]`.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    pub values: &'a [f32],
    pub len: usize,
    pub center: usize,
}

/// Working memory of one thread for contexts up to a length.
pub struct PagedScratch {
    values: Aligned<f32>,
    max_context: usize,
    head_dim: usize,
}

impl PagedScratch {
    pub fn new(max_context: usize, head_dim: usize) -> Self {
        Self {
            values: Aligned::zeroed(Self::values_for(max_context, head_dim)),
            max_context,
            head_dim,
        }
    }

    /// Values that a scratch of this size holds: a tile's queries and their scores.
    pub(crate) fn values_for(max_context: usize, head_dim: usize) -> usize {
        let keys = max_context.next_multiple_of(PAGE_TOKENS) + PAGE_TOKENS;
        MAX_TILE_ROWS * (keys + head_dim)
    }
}

impl PagedAttention {
    pub(crate) fn check(&self) -> Result<(), ShapeError> {
        at_least("key heads", 1, self.kv_heads)?;
        at_least("head width", 1, self.head_dim)?;
        let whole = self.heads / self.kv_heads * self.kv_heads;
        exactly("heads in whole groups", whole, self.heads)
    }

    /// Lets queries attend to keys and values of a layer of the cache that were written before.
    /// `out` is one row of `heads * head_dim` values for each query.
    ///
    /// # Errors
    /// Shapes do not fit each other, a page is outside the cache, or a key is past the pages, the
    /// scratch or the bias.
    pub fn run(
        &self,
        isa: Isa,
        cache: &KvCache,
        layer: usize,
        queries: PagedQueries<'_>,
        scratch: &mut PagedScratch,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        let width = self.heads * self.head_dim;
        self.check()?;
        cache.shape().fits(self.kv_heads, self.head_dim)?;
        at_most("layer", cache.shape().layers.saturating_sub(1), layer)?;
        at_least("values from row to row", width, queries.stride)?;
        let rows = out.len() / width;
        exactly("attention output", rows * width, out.len())?;
        if rows == 0 {
            return Ok(());
        }
        let needed = (rows - 1) * queries.stride + width;
        at_least("query values", needed, queries.values.len())?;
        let keys = queries.visible.keys(queries.start + rows - 1).end;
        at_least("visible keys", 1, keys)?;
        at_most("keys", scratch.max_context, keys)?;
        exactly("head width of the scratch", self.head_dim, scratch.head_dim)?;
        cache.check_pages(queries.pages, keys)?;
        if let Some(bias) = queries.bias {
            bias.check(self.heads, &queries, rows, keys)?;
        }
        let group = self.heads / self.kv_heads;
        for kv_head in 0..self.kv_heads {
            let first = kv_head * group * self.head_dim;
            let attend = Attend {
                shape: *self,
                cache: cache.view(),
                layer,
                pages: queries.pages,
                kv_head,
                queries: queries.values[first..].as_ptr(),
                stride: queries.stride,
                start: queries.start,
                rows,
                visible: queries.visible,
                bias: queries.bias,
                scratch: &mut scratch.values,
                out: out[first..].as_mut_ptr(),
                out_stride: width,
            };
            // SAFETY: everything was checked above, and the cache is borrowed.
            unsafe { attend.run(isa) };
        }
        Ok(())
    }
}

impl Bias<'_> {
    fn check(
        &self,
        heads: usize,
        queries: &PagedQueries<'_>,
        rows: usize,
        keys: usize,
    ) -> Result<(), ShapeError> {
        exactly("values of the bias", heads * self.len, self.values.len())?;
        let last = queries.start + rows - 1;
        at_least("center of the bias", last, self.center)?;
        at_least(
            "bias by distance",
            keys + self.center - queries.start,
            self.len,
        )
    }
}
