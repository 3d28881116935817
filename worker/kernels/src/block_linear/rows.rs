//! Activations in int8 with a scale for every 32 of a row.
//!
//! Block b of a row holds q = round(x * 127 / max |x|), so that x is about q * scale with scale =
//! max |x| / 127. The sum of a block's q is kept beside it, times the scale for weights that have a
//! minimum, and times -128 for instructions that want weights without sign.

use std::marker::PhantomData;
use std::ops::Range;

use crate::aligned::Aligned;
use crate::blocks::RUN;
use crate::error::{ShapeError, at_most, exactly};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// Room for quantized rows.
pub struct BlockRows {
    isa: Isa,
    cols: usize,
    rows: usize,
    quants: Aligned<i8>,
    scales: Aligned<f32>,
    sums: Aligned<f32>,
    origins: Aligned<i32>,
}

/// Row lengths are whole cache lines, an odd number of them: rows of a tile then fall into
/// different sets of the first-level cache.
fn stride_for(cols: usize) -> usize {
    let lines = cols.div_ceil(64);
    (lines + usize::from(lines.is_multiple_of(2))) * 64
}

impl BlockRows {
    /// Room for `rows` rows of `cols` values.
    ///
    /// # Errors
    /// `cols` is not a multiple of 32.
    pub fn new(isa: Isa, rows: usize, cols: usize) -> Result<Self, ShapeError> {
        exactly("columns in blocks of 32", cols / RUN * RUN, cols)?;
        Ok(Self {
            isa,
            cols,
            rows,
            quants: Aligned::zeroed(rows * stride_for(cols)),
            scales: Aligned::zeroed(rows * (cols / RUN)),
            sums: Aligned::zeroed(rows * (cols / RUN)),
            origins: Aligned::zeroed(rows * (cols / RUN)),
        })
    }

    /// No rows: where nothing is quantized.
    pub(crate) fn none(isa: Isa) -> Self {
        Self {
            isa,
            cols: 0,
            rows: 0,
            quants: Aligned::zeroed(0),
            scales: Aligned::zeroed(0),
            sums: Aligned::zeroed(0),
            origins: Aligned::zeroed(0),
        }
    }

    /// Bytes that room for `rows` rows of `cols` values takes.
    pub fn bytes_for(rows: usize, cols: usize) -> usize {
        rows * (stride_for(cols) + cols / RUN * 12)
    }

    pub fn bytes(&self) -> usize {
        self.quants.bytes() + self.scales.bytes() + self.sums.bytes() + self.origins.bytes()
    }

    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Values a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows there is room for.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What one step of each block of each row is worth.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The quantized values of a row.
    pub fn row(&self, row: usize) -> &[i8] {
        &self.quants[row * stride_for(self.cols)..][..self.cols]
    }

    /// Quantizes `src`, rows of [`BlockRows::cols`] values, into the rows from `first` on.
    ///
    /// # Errors
    /// `src` is not whole rows, or there is no room for them.
    pub fn quantize(&mut self, first: usize, src: &[f32]) -> Result<(), ShapeError> {
        let rows = src.len() / self.cols.max(1);
        exactly("activations", rows * self.cols, src.len())?;
        at_most("quantized rows", self.rows, first + rows)?;
        self.isa.run(Quantize {
            to: self.view_mut(),
            first,
            src,
        });
        Ok(())
    }

    /// To read alone.
    pub(crate) fn view(&self) -> BlockView<'_> {
        BlockView {
            quants: self.quants.as_ptr().cast_mut(),
            scales: self.scales.as_ptr().cast_mut(),
            sums: self.sums.as_ptr().cast_mut(),
            origins: self.origins.as_ptr().cast_mut(),
            stride: stride_for(self.cols),
            blocks: self.cols / RUN,
            rows: self.rows,
            borrow: PhantomData,
        }
    }

    pub(crate) fn view_mut(&mut self) -> BlockView<'_> {
        BlockView {
            quants: self.quants.as_mut_ptr(),
            scales: self.scales.as_mut_ptr(),
            sums: self.sums.as_mut_ptr(),
            origins: self.origins.as_mut_ptr(),
            ..self.view()
        }
    }
}

/// Quantized rows that members of a team write and read; who uses it keeps the two apart.
#[derive(Clone, Copy)]
pub(crate) struct BlockView<'a> {
    pub(crate) quants: *mut i8,
    pub(crate) scales: *mut f32,
    pub(crate) sums: *mut f32,
    pub(crate) origins: *mut i32,
    /// Values from one row to the next.
    pub(crate) stride: usize,
    /// Blocks a row.
    pub(crate) blocks: usize,
    pub(crate) rows: usize,
    borrow: PhantomData<&'a BlockRows>,
}

// SAFETY: the pointers are used only in unsafe methods, whose callers keep writes and reads apart.
unsafe impl Send for BlockView<'_> {}
// SAFETY: as above.
unsafe impl Sync for BlockView<'_> {}

impl BlockView<'_> {
    /// Quantizes `blocks` blocks of a row, from block `first` on.
    ///
    /// # Safety
    /// The view came from a mutable borrow; the blocks are in the row and the row in the view;
    /// nobody else uses these blocks now; `src` is valid for reading as many values.
    #[inline(always)]
    pub(crate) unsafe fn put<S: Simd>(
        &self,
        s: S,
        row: usize,
        first: usize,
        blocks: usize,
        src: *const f32,
    ) {
        debug_assert!(row < self.rows && first + blocks <= self.blocks);
        for b in 0..blocks {
            // SAFETY: a block is RUN values, whole vectors of any isa, inside what was promised.
            unsafe {
                let src = src.add(b * RUN);
                let mut size = s.abs(s.load(src));
                for at in (S::LANES..RUN).step_by(S::LANES) {
                    size = s.max(s.abs(s.load(src.add(at))), size);
                }
                let largest = s.largest(size);
                let factor = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                let to = self.quants.add(row * self.stride + (first + b) * RUN);
                let mut sum = s.splat(0.0);
                for at in (0..RUN).step_by(S::LANES) {
                    let q = s.round(s.mul(s.load(src.add(at)), s.splat(factor)));
                    let q = s.max(s.min(q, s.splat(127.0)), s.splat(-127.0));
                    sum = s.add(sum, q);
                    s.store_i8(to.add(at), q);
                }
                let at = row * self.blocks + first + b;
                let (scale, sum) = (largest / 127.0, s.sum(sum));
                *self.scales.add(at) = scale;
                *self.sums.add(at) = scale * sum;
                *self.origins.add(at) = -128 * sum as i32;
            }
        }
    }
}

/// Quantizes some columns of some rows, the first of which begin at `from`.
pub(crate) struct QuantizeRows<'a> {
    pub(crate) from: *const f32,
    pub(crate) stride: usize,
    pub(crate) to: BlockView<'a>,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Kernel for QuantizeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (first, blocks) = (self.columns.start / RUN, self.columns.len() / RUN);
        for (r, row) in self.rows.enumerate() {
            // SAFETY: rows and columns are this member's own and in both matrices.
            unsafe {
                let from = self.from.add(r * self.stride);
                self.to.put(s, row, first, blocks, from);
            }
        }
    }
}

struct Quantize<'a> {
    to: BlockView<'a>,
    first: usize,
    src: &'a [f32],
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.src.chunks_exact((self.to.blocks * RUN).max(1));
        for (r, row) in rows.enumerate() {
            // SAFETY: `quantize` checked the rows and borrowed them mutably.
            unsafe {
                self.to
                    .put(s, self.first + r, 0, self.to.blocks, row.as_ptr());
            }
        }
    }
}
