//! The layer over rows and columns: tile by tile, each finished while it is close.

use std::ops::Range;

use super::tile::{Sums, Tile};
use super::{BlockLinear, BlockView};
use crate::linear::{Activation, Epilogue};
use crate::simd::{Kernel, MAX_PANEL, MAX_TILE_ROWS, Simd};

/// Rows whose activations stay close while every panel passes over them.
const BLOCK_ROWS: usize = 96;

/// A product of some rows and some columns, each result being `store(activation(x W^T + b))`, or
/// with a gate `store(activation(gate) * (x W^T + b))`.
pub(crate) struct Multiply<'a> {
    pub(crate) linear: &'a BlockLinear,
    /// A layer of the same shape that reads the same rows (Shazeer, 2020, equation 6).
    pub(crate) gate: Option<(&'a BlockLinear, Activation)>,
    /// Row 0 of the input, as each kind of weights wants it.
    pub(crate) float: *const f32,
    pub(crate) blocks: BlockView<'a>,
    pub(crate) rows: Range<usize>,
    /// Beginning where a panel of any isa does.
    pub(crate) columns: Range<usize>,
    pub(crate) epilogue: Epilogue,
    /// The result of the first row and the first column.
    pub(crate) out: *mut f32,
    /// Values from one row of `out` to the next.
    pub(crate) stride: usize,
}

impl Multiply<'_> {
    /// # Safety
    /// The input holds the rows in the form that each layer reads, of the layer's width and isa;
    /// the columns are in the layer; `out` is valid for reading and writing these rows and columns,
    /// and nobody else uses them now; nobody writes the input.
    pub(crate) unsafe fn run(self) {
        debug_assert!(self.columns.start.is_multiple_of(MAX_PANEL));
        self.linear.isa.run(self);
    }
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
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

impl Multiply<'_> {
    /// One panel of channels over a block of rows.
    #[inline(always)]
    fn panel<S: Simd>(&self, s: S, block: Range<usize>, channel: usize) {
        let mut sums = Sums([0.0; MAX_TILE_ROWS * MAX_PANEL]);
        let mut gates = Sums([0.0; MAX_TILE_ROWS * MAX_PANEL]);
        let turns = block.len().div_ceil(S::BLOCK_TILE_ROWS);
        for (turn, row) in block.clone().step_by(S::BLOCK_TILE_ROWS).enumerate() {
            let rows = S::BLOCK_TILE_ROWS.min(block.end - row);
            let tile = Tile {
                float: self.float,
                blocks: self.blocks,
                row,
                channel,
                turn,
                turns,
            };
            // SAFETY: `run`'s caller promised rows and columns; channels are padded to panels.
            unsafe {
                self.linear.sums(s, rows, tile, &mut sums);
                if let Some((gate, _)) = self.gate {
                    gate.sums(s, rows, tile, &mut gates);
                }
                for r in 0..rows {
                    let at = (row - self.rows.start + r) * self.stride;
                    self.finish(s, r, channel, &sums, &gates, self.out.add(at));
                }
            }
        }
    }

    /// Row `r` of a tile to memory.
    ///
    /// # Safety
    /// `to` is the output's row, valid as [`Multiply::run`] says.
    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        s: S,
        r: usize,
        channel: usize,
        sums: &Sums,
        gates: &Sums,
        to: *mut f32,
    ) {
        for v in 0..2 {
            let channel = channel + v * S::LANES;
            if channel >= self.columns.end {
                break;
            }
            // SAFETY: sums hold two vectors a row, biases are padded to panels, and the row has
            // `columns` values.
            unsafe {
                let at = (2 * r + v) * S::LANES;
                let mut y = self.linear.biased(s, sums, at, channel);
                if let Some((gate, activation)) = self.gate {
                    let gate = gate.biased(s, gates, at, channel);
                    y = s.mul(activation.apply(s, gate), y);
                }
                let y = self.epilogue.activation.apply(s, y);
                let to = to.add(channel - self.columns.start);
                self.epilogue
                    .store
                    .put(s, y, to, self.columns.end - channel);
            }
        }
    }
}

impl BlockLinear {
    /// # Safety
    /// `at` is a vector of the sums, `channel` the first of a vector of the layer.
    #[inline(always)]
    unsafe fn biased<S: Simd>(&self, s: S, sums: &Sums, at: usize, channel: usize) -> S::F {
        // SAFETY: the caller's promise; a bias that is there is padded to panels.
        unsafe {
            let sum = s.load(sums.0.as_ptr().add(at));
            if self.bias.is_empty() {
                sum
            } else {
                s.add(sum, s.load(self.bias.as_ptr().add(channel)))
            }
        }
    }
}
