//! The inner product: a few rows by one panel of output channels.

use super::{BlockLinear, BlockView, Blocks, Form};
use crate::blocks::RUN;
use crate::simd::{MAX_PANEL, MAX_TILE_ROWS, Simd};

/// Results of one tile, row by row, each row one panel long.
#[repr(align(64))]
pub(super) struct Sums(pub(super) [f32; MAX_TILE_ROWS * MAX_PANEL]);

/// Where a tile's operands are.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    /// Row 0 of the input as floats, and as blocks.
    pub(super) float: *const f32,
    pub(super) blocks: BlockView<'a>,
    /// Its first row and its first channel, a panel's first.
    pub(super) row: usize,
    pub(super) channel: usize,
}

impl BlockLinear {
    /// Multiplies `rows` rows, 1..=[`Simd::BLOCK_TILE_ROWS`], without bias.
    ///
    /// # Safety
    /// `S` is the layer's isa; the tile's rows are in its input, which has the layer's width; the
    /// channel is the first of a panel of the layer.
    #[inline(always)]
    pub(super) unsafe fn sums<S: Simd>(&self, s: S, rows: usize, tile: Tile<'_>, to: &mut Sums) {
        // SAFETY: each arm reads as many rows as it is chosen for.
        unsafe {
            match rows {
                1 => self.sums_of::<S, 1>(s, tile, to),
                2 => self.sums_of::<S, 2>(s, tile, to),
                3 => self.sums_of::<S, 3>(s, tile, to),
                4 => self.sums_of::<S, 4>(s, tile, to),
                5 if S::BLOCK_TILE_ROWS >= 5 => self.sums_of::<S, 5>(s, tile, to),
                6 if S::BLOCK_TILE_ROWS >= 6 => self.sums_of::<S, 6>(s, tile, to),
                _ => debug_assert!(false, "a tile of {rows} rows"),
            }
        }
    }

    /// # Safety
    /// As [`BlockLinear::sums`] for R rows.
    #[inline(always)]
    unsafe fn sums_of<S: Simd, const R: usize>(&self, s: S, tile: Tile<'_>, to: &mut Sums) {
        // SAFETY: the caller's promise.
        unsafe {
            match &self.form {
                Form::Float(panels) => {
                    let x = tile.float.add(tile.row * self.k);
                    panels.sums::<S, R>(s, x, self.k, tile.channel, to.0.as_mut_ptr());
                }
                Form::Blocks(blocks) => match (blocks.four_bits, blocks.mins) {
                    (true, true) => blocks.sums::<S, R, true, true>(s, tile, to),
                    (true, false) => blocks.sums::<S, R, true, false>(s, tile, to),
                    (false, true) => blocks.sums::<S, R, false, true>(s, tile, to),
                    (false, false) => blocks.sums::<S, R, false, false>(s, tile, to),
                },
            }
        }
    }
}

impl Blocks {
    /// The sum over blocks, in order, of scale_a * scale_w * dot + scale_a * sum_a * min: the same
    /// operations for a row whatever R is.
    ///
    /// # Safety
    /// As [`BlockLinear::sums`] for R rows.
    #[inline(always)]
    unsafe fn sums<S: Simd, const R: usize, const FOUR_BITS: bool, const MINS: bool>(
        &self,
        s: S,
        tile: Tile<'_>,
        to: &mut Sums,
    ) {
        let x = tile.blocks;
        let quants = if FOUR_BITS { 32 } else { 64 } * S::LANES;
        // SAFETY: record b < blocks of the panel holds weights, scales and perhaps minima for two
        // vectors of channels; block b of R rows is in the input.
        unsafe {
            let panel = tile.channel / (2 * S::LANES) * x.blocks * self.record;
            let mut record = self.bytes[panel..].as_ptr();
            let acts = x.quants.add(tile.row * x.stride).cast_const();
            let mut acc = [[s.splat(0.0); 2]; R];
            for b in 0..x.blocks {
                let at = |r: usize| (tile.row + r) * x.blocks + b;
                let mut first = [0; R];
                if FOUR_BITS || S::BYTE_OFFSET != 0 {
                    for (r, first) in first.iter_mut().enumerate() {
                        *first = -self.offset * *x.sums.add(at(r));
                    }
                }
                let dots = if FOUR_BITS {
                    s.block_u4::<R>(record, acts.add(b * RUN), x.stride, first)
                } else {
                    s.block_i8::<R>(record, acts.add(b * RUN), x.stride, first)
                };
                let halves = record.add(quants).cast::<u16>();
                for v in 0..2 {
                    let scale = s.load_f16(halves.add(v * S::LANES));
                    for r in 0..R {
                        let factor = s.mul(scale, s.splat(*x.scales.add(at(r))));
                        acc[r][v] = s.mul_add(s.to_f32(dots[r][v]), factor, acc[r][v]);
                    }
                    if MINS {
                        let min = s.load_f16(halves.add((2 + v) * S::LANES));
                        for r in 0..R {
                            let sum = *x.scales.add(at(r)) * *x.sums.add(at(r)) as f32;
                            acc[r][v] = s.mul_add(min, s.splat(sum), acc[r][v]);
                        }
                    }
                }
                record = record.add(self.record);
            }
            let factor = s.splat(self.factor);
            for (r, acc) in acc.into_iter().enumerate() {
                for (v, acc) in acc.into_iter().enumerate() {
                    let to = to.0.as_mut_ptr().add((2 * r + v) * S::LANES);
                    s.store(to, s.mul(acc, factor));
                }
            }
        }
    }
}
