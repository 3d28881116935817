//! The walk over rows and panels, and the epilogue that turns exact sums into f32.

use std::ops::Range;

use super::pack::Linear;
use super::tile::{Operands, Sums, sums};
use crate::error::{ShapeError, at_least, at_most, exactly};
use crate::math::Activation;
use crate::quant::{QuantRows, split};
use crate::simd::{Kernel, MAX_PANEL, MAX_TILE_ROWS, Simd};

/// What happens to a result where it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// It replaces what is there.
    #[default]
    Replace,
    /// It is added to what is there: the residual connection.
    Add,
}

/// What happens to each sum: `store(activation(sum * row scale * channel scale + bias))`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epilogue {
    pub activation: Activation,
    pub store: Store,
}

/// Rows whose activations stay close while every panel passes over them.
const BLOCK_ROWS: usize = 128;

impl Linear {
    /// Multiplies some rows of `x` into `out`, `rows.len()` rows of [`Linear::outputs`] values.
    ///
    /// # Errors
    /// `x` has another width, tier or fewer rows, or `out` another length.
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
        self.tier.run(Forward {
            linear: self,
            x,
            rows,
            columns,
            sink: Float {
                linear: self,
                epilogue,
                out,
            },
        });
        Ok(())
    }

    /// The exact sums q * w of some rows, without scales or bias: what every tier must agree on.
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
        self.tier.run(Forward {
            linear: self,
            x,
            rows,
            columns,
            sink: Integer { out },
        });
        Ok(())
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
        exactly(
            "rows of the layer's tier",
            1,
            usize::from(x.tier() == self.tier),
        )?;
        at_most("rows", x.rows(), rows.end)?;
        at_least("end of rows", rows.start, rows.end)?;
        at_most("output channels", self.n, columns.end)?;
        at_least("end of columns", columns.start, columns.end)?;
        exactly("first column past a panel's", 0, columns.start % MAX_PANEL)
    }
}

/// Takes finished tiles.
trait Sink {
    /// A tile is about to be summed: its output can be fetched meanwhile.
    ///
    /// # Safety
    /// As [`Sink::put`].
    unsafe fn prepare<S: Simd>(&mut self, s: S, tile: Tile);

    /// `first` is the tile's row, `at` its first column in the output, `columns` the output's width.
    ///
    /// # Safety
    /// The output holds row `first + rows - 1`, and `at < columns`.
    unsafe fn put<S: Simd>(&mut self, s: S, tile: Tile, sums: &Sums);
}

/// Which part of the output a tile is.
#[derive(Clone, Copy)]
struct Tile {
    /// In the activations.
    input_row: usize,
    /// In the output.
    row: usize,
    rows: usize,
    /// In the layer.
    channel: usize,
    /// In the output.
    column: usize,
    /// Columns of the output: its row length.
    width: usize,
    /// Activation scales, of all rows of the input.
    scales: *const f32,
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
        for row in block.clone().step_by(S::TILE_ROWS) {
            let rows = S::TILE_ROWS.min(block.end - row);
            let tile = Tile {
                input_row: row,
                row: row - self.rows.start,
                rows,
                channel,
                column: channel - self.columns.start,
                width: self.columns.len(),
                scales: self.x.scales().as_ptr(),
            };
            // SAFETY: `check` saw that the rows are in `x`, made for this tier; channels are padded to panels;
            // the output was checked to hold every row and column.
            unsafe {
                let from = Operands::<S> {
                    acts: self.x.row::<S>(row),
                    stride: self.x.stride(),
                    panel: linear
                        .panels
                        .as_ptr()
                        .add(channel * linear.groups * S::K_GROUP),
                    groups: linear.groups,
                    start: linear.start.as_ptr().add(channel),
                };
                self.sink.prepare(s, tile);
                sums(s, rows, &from, &mut sum);
                self.sink.put(s, tile, &sum);
            }
        }
    }
}

/// Writes f32.
struct Float<'a> {
    linear: &'a Linear,
    epilogue: Epilogue,
    out: &'a mut [f32],
}

impl Sink for Float<'_> {
    #[inline(always)]
    unsafe fn prepare<S: Simd>(&mut self, s: S, tile: Tile) {
        for r in 0..tile.rows {
            // SAFETY: the row and column are in the output; a prefetch may go past it.
            let to = unsafe {
                self.out
                    .as_ptr()
                    .add((tile.row + r) * tile.width + tile.column)
            };
            for v in 0..2 {
                s.prefetch_to_write(to.wrapping_add(v * S::LANES));
            }
        }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, s: S, tile: Tile, sums: &Sums) {
        let Epilogue { activation, store } = self.epilogue;
        for r in 0..tile.rows {
            for v in 0..2 {
                let column = tile.column + v * S::LANES;
                if column >= tile.width {
                    break;
                }
                let lanes = S::LANES.min(tile.width - column);
                let channel = tile.channel + v * S::LANES;
                // SAFETY: the row and column are in the output, `lanes` of its row are left, and the layer's
                // vectors are padded to whole panels.
                unsafe {
                    let row_scale = s.splat(*tile.scales.add(tile.input_row + r));
                    let sum = s.to_f32(s.load_i32(sums.0.as_ptr().add((2 * r + v) * S::LANES)));
                    let scale = s.mul(row_scale, s.load(self.linear.scale.as_ptr().add(channel)));
                    let y = s.mul_add(sum, scale, s.load(self.linear.bias.as_ptr().add(channel)));
                    let mut y = activation.apply(s, y);
                    let to = self
                        .out
                        .as_mut_ptr()
                        .add((tile.row + r) * tile.width + column);
                    if lanes == S::LANES {
                        if store == Store::Add {
                            y = s.add(y, s.load(to));
                        }
                        s.store(to, y);
                    } else {
                        if store == Store::Add {
                            y = s.add(y, s.load_n(to, lanes, 0.0));
                        }
                        s.store_n(to, lanes, y);
                    }
                }
            }
        }
    }
}

/// Writes the sums themselves.
struct Integer<'a> {
    out: &'a mut [i32],
}

impl Sink for Integer<'_> {
    #[inline(always)]
    unsafe fn prepare<S: Simd>(&mut self, _: S, _: Tile) {}

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, _: S, tile: Tile, sums: &Sums) {
        let panel = 2 * S::LANES;
        let columns = panel.min(tile.width - tile.column);
        for r in 0..tile.rows {
            let to = (tile.row + r) * tile.width + tile.column;
            self.out[to..to + columns].copy_from_slice(&sums.0[r * panel..r * panel + columns]);
        }
    }
}
