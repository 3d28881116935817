//! The walk over rows and panels.

use std::ops::Range;

use super::epilogue::{Epilogue, Float, Integer, Sink, Tile};
use super::pack::Linear;
use super::tile::{Operands, Sums, sums};
use crate::aligned::LINE_BYTES;
use crate::error::{ShapeError, at_least, at_most, exactly, same_isa};
use crate::quant::{QuantRows, split};
use crate::simd::{Kernel, MAX_PANEL, MAX_TILE_ROWS, Simd};

/// Rows whose activations stay close while every panel passes over them.
const BLOCK_ROWS: usize = 128;

/// Tiles over one panel from which on they fetch the next one.
const FETCHING_TILES: usize = 6;

impl Linear {
    /// Multiplies some rows of `x` into `out`, `rows.len()` rows of [`Linear::outputs`] values.
    ///
    /// # Errors
    /// `x` has another width, isa or fewer rows, or `out` another length.
    pub fn forward(
        &self,
        x: &QuantRows,
        rows: Range<usize>,
        epilogue: Epilogue,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.forward_columns(x, rows, 0..self.n, epilogue, out)
    }

    /// As [`Linear::forward`] for some output channels, so that threads can share one row:
    /// `out` is `rows.len()` rows of `columns.len()` values. See [`Linear::split_columns`].
    ///
    /// # Errors
    /// As [`Linear::forward`], or `columns` does not begin where a panel does.
    pub fn forward_columns(
        &self,
        x: &QuantRows,
        rows: Range<usize>,
        columns: Range<usize>,
        epilogue: Epilogue,
        out: &mut [f32],
    ) -> Result<(), ShapeError> {
        self.check(x, &rows, &columns)?;
        exactly("linear output", rows.len() * columns.len(), out.len())?;
        let sink = Float {
            linear: self,
            x,
            first_row: rows.start,
            first_channel: columns.start,
            epilogue,
            out,
        };
        self.multiply(x, rows, columns, sink);
        Ok(())
    }

    /// The exact sums of activations times weights, both as integers, of some rows, without scales
    /// or bias: what every isa must agree on.
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub fn sums(
        &self,
        x: &QuantRows,
        rows: Range<usize>,
        out: &mut [i32],
    ) -> Result<(), ShapeError> {
        let columns = 0..self.n;
        self.check(x, &rows, &columns)?;
        exactly("linear sums", rows.len() * self.n, out.len())?;
        self.multiply(x, rows, columns, Integer { out });
        Ok(())
    }

    fn multiply(&self, x: &QuantRows, rows: Range<usize>, columns: Range<usize>, sink: impl Sink) {
        self.isa.run(Forward {
            linear: self,
            x,
            rows,
            columns,
            sink,
        });
    }

    /// Cuts the output channels into at most `parts` ranges for [`Linear::forward_columns`].
    pub fn split_columns(&self, parts: usize) -> impl Iterator<Item = Range<usize>> {
        split(self.n, parts, MAX_PANEL)
    }

    fn check(
        &self,
        x: &QuantRows,
        rows: &Range<usize>,
        columns: &Range<usize>,
    ) -> Result<(), ShapeError> {
        exactly("input features", self.k, x.cols())?;
        same_isa(self.isa, x.isa())?;
        at_most("rows", x.rows(), rows.end)?;
        at_least("end of rows", rows.start, rows.end)?;
        at_most("output channels", self.n, columns.end)?;
        at_least("end of columns", columns.start, columns.end)?;
        exactly("first column past a panel's", 0, columns.start % MAX_PANEL)
    }
}

struct Forward<'a, K> {
    linear: &'a Linear,
    x: &'a QuantRows,
    rows: Range<usize>,
    columns: Range<usize>,
    sink: K,
}

impl<K: Sink> Kernel for Forward<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut block = self.rows.clone();
        while !block.is_empty() {
            block.end = self.rows.end.min(block.start + BLOCK_ROWS);
            let mut channel = self.columns.start;
            while channel < self.columns.end {
                self.panel(s, block.clone(), channel);
                channel += 2 * S::LANES;
            }
            block = block.end..self.rows.end;
        }
    }
}

impl<K: Sink> Forward<'_, K> {
    /// One panel of channels over a block of rows.
    #[inline(always)]
    fn panel<S: Simd>(&mut self, s: S, block: Range<usize>, channel: usize) {
        let linear = self.linear;
        let mut sum = Sums([0; MAX_TILE_ROWS * MAX_PANEL]);
        let panel = linear.panels[channel * linear.groups * S::K_GROUP..].as_ptr();
        // While this panel is used the next one is fetched, a part by each tile. Few tiles would have
        // to ask for so much at once that they wait for it: they leave it to the CPU.
        let bytes = 2 * S::LANES * linear.groups * S::K_GROUP;
        let tiles = block.len().div_ceil(S::TILE_ROWS);
        let ahead = if tiles < FETCHING_TILES {
            0
        } else {
            bytes.div_ceil(LINE_BYTES)
        };
        let lines = ahead.div_ceil(tiles);
        let mut next = panel.wrapping_add(bytes);
        for row in block.clone().step_by(S::TILE_ROWS) {
            let rows = S::TILE_ROWS.min(block.end - row);
            let tile = Tile {
                row: row - self.rows.start,
                rows,
                column: channel - self.columns.start,
                width: self.columns.len(),
            };
            // SAFETY: `check` saw that the rows are in `x`, made for this isa; channels are padded
            // to panels; the output was checked to hold every row and column.
            unsafe {
                let from = Operands::<S> {
                    acts: self.x.row::<S>(row),
                    stride: self.x.stride(),
                    panel,
                    groups: linear.groups,
                };
                for line in 0..lines {
                    s.prefetch(next.wrapping_add(line * LINE_BYTES));
                }
                next = next.wrapping_add(lines * LINE_BYTES);
                self.sink.prepare(s, tile);
                sums(s, rows, &from, &mut sum);
                self.sink.put(s, tile, &sum);
            }
        }
    }
}
