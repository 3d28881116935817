//! What becomes of exact sums: scales, bias, activation and residual while they are close, then
//! memory.

use super::pack::Linear;
use super::tile::Sums;
use crate::math::Activation;
use crate::quant::QuantRows;
use crate::simd::Simd;

/// What happens to a result where it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// It replaces what is there.
    #[default]
    Replace,
    /// It is added to what is there: the residual connection.
    Add,
    /// It is multiplied with what is there: a gate.
    Multiply,
}

impl Store {
    /// Stores the lanes that the row has left.
    ///
    /// # Safety
    /// `to` is valid for reading and writing `left` values.
    #[inline(always)]
    pub(crate) unsafe fn put<S: Simd>(self, s: S, y: S::F, to: *mut f32, left: usize) {
        // SAFETY: at most `left` values are touched.
        unsafe {
            if left >= S::LANES {
                let y = match self {
                    Self::Replace => y,
                    Self::Add => s.add(y, s.load(to)),
                    Self::Multiply => s.mul(y, s.load(to)),
                };
                s.store(to, y);
            } else {
                let y = match self {
                    Self::Replace => y,
                    Self::Add => s.add(y, s.load_n(to, left, 0.0)),
                    Self::Multiply => s.mul(y, s.load_n(to, left, 0.0)),
                };
                s.store_n(to, left, y);
            }
        }
    }
}

/// What happens to each sum: `store(activation(sum * row scale * channel scale + row origin *
/// weight sum + bias))`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epilogue {
    pub activation: Activation,
    pub store: Store,
}

/// Takes finished tiles.
pub(super) trait Sink {
    /// A tile is about to be summed: its output can be fetched meanwhile.
    ///
    /// # Safety
    /// As [`Sink::put`].
    unsafe fn prepare<S: Simd>(&mut self, s: S, tile: Tile);

    /// # Safety
    /// The output holds rows `tile.row..tile.row + tile.rows` of `tile.width` columns,
    /// `tile.column` among them, and the input holds as many rows as the output.
    unsafe fn put<S: Simd>(&mut self, s: S, tile: Tile, sums: &Sums);
}

/// Which part of the output a tile is.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Its first row and how many there are.
    pub(super) row: usize,
    pub(super) rows: usize,
    /// Its first column.
    pub(super) column: usize,
    /// The output's row length.
    pub(super) width: usize,
}

/// Writes f32.
pub(super) struct Float<'a> {
    pub(super) linear: &'a Linear,
    pub(super) x: &'a QuantRows,
    /// The input row and the layer's channel of the output's row 0 and column 0.
    pub(super) first_row: usize,
    pub(super) first_channel: usize,
    pub(super) epilogue: Epilogue,
    pub(super) out: &'a mut [f32],
}

impl Sink for Float<'_> {
    #[inline(always)]
    unsafe fn prepare<S: Simd>(&mut self, s: S, tile: Tile) {
        for r in 0..tile.rows {
            let to = (tile.row + r) * tile.width + tile.column;
            for v in 0..2 {
                s.prefetch_to_write(self.out.as_ptr().wrapping_add(to + v * S::LANES));
            }
        }
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&mut self, s: S, tile: Tile, sums: &Sums) {
        let first = self.first_row + tile.row;
        let scales = &self.x.scales()[first..first + tile.rows];
        let origins = &self.x.origins()[first..first + tile.rows];
        for v in 0..2 {
            let column = tile.column + v * S::LANES;
            if column >= tile.width {
                break;
            }
            // SAFETY: the columns are in the layer; the rows and columns are in the output, by the
            // caller's promise.
            unsafe {
                let channels = self.channels(s, self.first_channel + column);
                for (r, (&scale, &origin)) in scales.iter().zip(origins).enumerate() {
                    let sum = s.to_f32(s.load_i32(sums.0.as_ptr().add((2 * r + v) * S::LANES)));
                    let offset = s.mul_add(s.splat(origin), channels.sum, channels.bias);
                    let y = s.mul_add(sum, s.mul(s.splat(scale), channels.scale), offset);
                    let y = self.epilogue.activation.apply(s, y);
                    let to = self
                        .out
                        .as_mut_ptr()
                        .add((tile.row + r) * tile.width + column);
                    self.epilogue.store.put(s, y, to, tile.width - column);
                }
            }
        }
    }
}

/// A vector of a layer's channels.
struct Channels<S: Simd> {
    scale: S::F,
    sum: S::F,
    bias: S::F,
}

impl Float<'_> {
    /// # Safety
    /// `first` is the first channel of a vector of the layer, which is padded to whole panels.
    #[inline(always)]
    unsafe fn channels<S: Simd>(&self, s: S, first: usize) -> Channels<S> {
        let layer = self.linear;
        // SAFETY: a whole vector is there.
        unsafe {
            Channels {
                scale: s.load(layer.scale.as_ptr().add(first)),
                sum: s.load(layer.sum.as_ptr().add(first)),
                bias: s.load(layer.bias.as_ptr().add(first)),
            }
        }
    }
}

/// Writes the sums themselves.
pub(super) struct Integer<'a> {
    pub(super) out: &'a mut [i32],
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
