//! What becomes of exact sums: scales, bias, activation and residual while they are close, then memory.

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
}

/// What happens to each sum: `store(activation(sum * row scale * channel scale + row origin * weight sum + bias))`.
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
    /// The output holds rows `tile.row..tile.row + tile.rows` of `tile.width` columns, `tile.column` among them, and
    /// the input holds as many rows as the output.
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
        for r in 0..tile.rows {
            let row = self.first_row + tile.row + r;
            let (scale, origin) = (self.x.scales()[row], self.x.origins()[row]);
            for v in 0..2 {
                let column = tile.column + v * S::LANES;
                if column >= tile.width {
                    break;
                }
                // SAFETY: the row and column are in the output, by the caller's promise.
                unsafe {
                    let sum = s.load_i32(sums.0.as_ptr().add((2 * r + v) * S::LANES));
                    let y =
                        self.result(s, s.to_f32(sum), self.first_channel + column, scale, origin);
                    let to = self
                        .out
                        .as_mut_ptr()
                        .add((tile.row + r) * tile.width + column);
                    self.store(s, y, to, tile.width - column);
                }
            }
        }
    }
}

impl Float<'_> {
    /// The activation of a vector of sums, made real.
    ///
    /// # Safety
    /// `channel` is the first of a vector of the layer.
    #[inline(always)]
    unsafe fn result<S: Simd>(
        &self,
        s: S,
        sum: S::F,
        channel: usize,
        scale: f32,
        origin: f32,
    ) -> S::F {
        let layer = self.linear;
        // SAFETY: the layer's vectors are padded to whole panels.
        let (channel_scale, weights, bias) = unsafe {
            (
                s.load(layer.scale.as_ptr().add(channel)),
                s.load(layer.sum.as_ptr().add(channel)),
                s.load(layer.bias.as_ptr().add(channel)),
            )
        };
        let offset = s.mul_add(s.splat(origin), weights, bias);
        let y = s.mul_add(sum, s.mul(s.splat(scale), channel_scale), offset);
        self.epilogue.activation.apply(s, y)
    }

    /// Stores the lanes that the row has left.
    ///
    /// # Safety
    /// `to` is valid for reading and writing `left` values.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, y: S::F, to: *mut f32, left: usize) {
        let add = self.epilogue.store == Store::Add;
        // SAFETY: at most `left` values are touched.
        unsafe {
            if left >= S::LANES {
                s.store(to, if add { s.add(y, s.load(to)) } else { y });
            } else {
                s.store_n(
                    to,
                    left,
                    if add {
                        s.add(y, s.load_n(to, left, 0.0))
                    } else {
                        y
                    },
                );
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
