//! The inner product: a few rows by one panel of output channels.

use super::{BlockLinear, BlockView, Blocks, Form};
use crate::blocks::{Bits, RUN};
use crate::simd::{Kernel, MAX_PANEL, MAX_TILE_ROWS, Simd};

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

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
    /// Its place among the tiles of the panel, and how many those are. Together they ask for the
    /// next panel's weights, each for every so many-th block, so that reading memory goes on while
    /// the later tiles multiply. Without it, eight rows of Qwen2-0.5B's shape in Q8_0 took 1.15 times as
    /// long on two cores of a Zen 3, and one row 1.19 times (`examples/decode.rs`).
    pub(super) turn: usize,
    pub(super) turns: usize,
}

impl BlockLinear {
    /// Multiplies `rows` rows, 1..=[`Simd::BLOCK_TILE_ROWS`], without bias.
    ///
    /// # Safety
    /// `S` is the layer's isa; the tile's rows are in its input, which has the layer's width; the
    /// channel is the first of a panel of the layer.
    #[inline(always)]
    pub(super) unsafe fn sums<S: Simd>(&self, s: S, rows: usize, tile: Tile<'_>, to: &mut Sums) {
        match rows {
            1 => s.call(TileSums::<1> {
                linear: self,
                tile,
                to,
            }),
            2 if S::BLOCK_TILE_ROWS >= 2 => s.call(TileSums::<2> {
                linear: self,
                tile,
                to,
            }),
            3 if S::BLOCK_TILE_ROWS >= 3 => s.call(TileSums::<3> {
                linear: self,
                tile,
                to,
            }),
            4 if S::BLOCK_TILE_ROWS >= 4 => s.call(TileSums::<4> {
                linear: self,
                tile,
                to,
            }),
            5 if S::BLOCK_TILE_ROWS >= 5 => s.call(TileSums::<5> {
                linear: self,
                tile,
                to,
            }),
            6 if S::BLOCK_TILE_ROWS >= 6 => s.call(TileSums::<6> {
                linear: self,
                tile,
                to,
            }),
            _ => debug_assert!(false, "a tile of {rows} rows"),
        }
    }
}

/// [`BlockLinear::sums`] of R rows; made there alone, under its promise.
struct TileSums<'a, const R: usize> {
    linear: &'a BlockLinear,
    tile: Tile<'a>,
    to: &'a mut Sums,
}

impl<const R: usize> Kernel for TileSums<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { linear, tile, to } = self;
        // SAFETY: the promise of `BlockLinear::sums`.
        unsafe {
            match &linear.form {
                Form::Float(panels) => {
                    let x = tile.float.add(tile.row * linear.k);
                    panels.sums::<S, R>(s, x, linear.k, tile.channel, to.0.as_mut_ptr());
                }
                Form::Blocks(blocks) => match (blocks.bits, blocks.mins) {
                    (Bits::Four, true) => blocks.sums::<S, R, 4, true>(s, tile, to),
                    (Bits::Four, false) => blocks.sums::<S, R, 4, false>(s, tile, to),
                    (Bits::Five, true) => blocks.sums::<S, R, 5, true>(s, tile, to),
                    (Bits::Five, false) => blocks.sums::<S, R, 5, false>(s, tile, to),
                    (Bits::Eight, _) => blocks.sums::<S, R, 8, false>(s, tile, to),
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
    unsafe fn sums<S: Simd, const R: usize, const BITS: usize, const MINS: bool>(
        &self,
        s: S,
        tile: Tile<'_>,
        to: &mut Sums,
    ) {
        let x = tile.blocks;
        let quants = BITS * RUN / 8 * 2 * S::LANES;
        // SAFETY: record b < blocks of the panel holds weights, scales and perhaps minima for two
        // vectors of channels; block b of R rows is in the input.
        unsafe {
            let next = x.blocks * self.record;
            let panel = tile.channel / (2 * S::LANES) * next;
            let mut asks = tile.turn;
            let mut record = self.bytes[panel..].as_ptr();
            let mut acts = x.quants.add(tile.row * x.stride).cast_const();
            let first_block = tile.row * x.blocks;
            let mut acc = [[s.splat(0.0); 2]; R];
            for block in 0..x.blocks {
                if block == asks {
                    for line in (0..quants).step_by(LINE_BYTES) {
                        s.prefetch(record.wrapping_add(next + line).cast());
                    }
                    asks += tile.turns;
                }
                let at = first_block + block;
                let dots = match BITS {
                    4 => s.block_u4::<R>(record, acts, x.stride, self.groups),
                    5 => s.block_u5::<R>(record, acts, x.stride, self.groups),
                    _ => {
                        let mut first = [0; R];
                        if S::BYTE_OFFSET != 0 {
                            for (r, first) in first.iter_mut().enumerate() {
                                *first = *x.origins.add(at + r * x.blocks);
                            }
                        }
                        s.block_i8::<R>(record, acts, x.stride, first, self.groups)
                    }
                };
                let halves = record.add(quants).cast::<u16>();
                for v in 0..2 {
                    let scale = s.load_f16(halves.add(v * S::LANES));
                    let min = if MINS {
                        s.load_f16(halves.add((2 + v) * S::LANES))
                    } else {
                        s.mul(scale, s.splat(self.origin))
                    };
                    for r in 0..R {
                        let factor = s.splat(*x.scales.add(at + r * x.blocks));
                        let dot = s.mul(s.to_f32(dots[r][v]), factor);
                        acc[r][v] = s.mul_add(dot, scale, acc[r][v]);
                        if BITS < 8 {
                            let sum = s.splat(*x.sums.add(at + r * x.blocks));
                            acc[r][v] = s.mul_add(min, sum, acc[r][v]);
                        }
                    }
                }
                record = record.add(self.record);
                acts = acts.add(RUN);
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
