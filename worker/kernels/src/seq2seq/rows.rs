//! The rows of one call, and what is done to one row at a time.

use std::ops::Range;

use super::pass::Pass;
use crate::paged::{CacheView, PAGE_TOKENS, Place, Visible};
use crate::rms_norm::RmsNorm;
use crate::simd::{Kernel, Simd};

/// One token of a source or a target.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) token: u32,
    pub(super) position: usize,
    /// Where the keys and values of its own sequence are.
    pub(super) pages: &'a [u32],
    pub(super) visible: Visible,
    /// Of a target's token: what it looks at. Of a source's: where that is to be written.
    pub(super) source: &'a [u32],
    pub(super) source_len: usize,
}

/// Normalizes rows, and quantizes them where any layer wants that.
pub(super) struct NormRows<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) norm: &'a RmsNorm,
    pub(super) rows: Range<usize>,
}

impl Kernel for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (pass, width) = (self.pass, self.norm.cols());
        let quant = pass.normed_quant;
        for row in self.rows {
            // SAFETY: the row is this member's own, and nobody reads it before a barrier.
            unsafe {
                let normed = pass.normed.pointer(row * width);
                self.norm.row(s, pass.hidden.pointer(row * width), normed);
                if quant.blocks != 0 {
                    quant.put(s, row, 0, quant.blocks, normed);
                }
            }
        }
    }
}

/// Stores the keys and values of rows, which lie side by side from `from` on.
pub(super) struct StoreKeys<'a> {
    pub(super) pass: &'a Pass<'a>,
    pub(super) cache: CacheView<'a>,
    pub(super) layer: usize,
    /// Of a row's keys among its values.
    pub(super) from: usize,
    /// Whether they are of the row's source rather than its own sequence.
    pub(super) of_source: bool,
    pub(super) rows: Range<usize>,
}

impl Kernel for StoreKeys<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let shape = &self.pass.model.parts.shape;
        let (attended, dim) = (shape.attended(), shape.head_dim);
        for r in self.rows {
            let row = &self.pass.rows[r];
            let pages = if self.of_source {
                row.source
            } else {
                row.pages
            };
            let keys = self.pass.qkv.pointer(r * 3 * attended + self.from);
            for head in 0..shape.heads {
                let place = Place {
                    layer: self.layer,
                    page: pages[row.position / PAGE_TOKENS],
                    slot: row.position % PAGE_TOKENS,
                    head,
                };
                // SAFETY: the row and its slot of the cache are this member's own; keys are followed
                // by as many values.
                unsafe {
                    let key = keys.add(head * dim);
                    self.cache.put(s, place, key, key.add(attended));
                }
            }
        }
    }
}
