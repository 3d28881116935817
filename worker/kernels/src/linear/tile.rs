//! The inner product: a tile of a few rows by one panel of output channels, exact in i32.

use super::pack::GROUP_UNROLL;
use crate::simd::{MAX_PANEL, MAX_TILE_ROWS, Simd};

/// Sums of one tile, row by row, each row one panel long.
#[repr(align(64))]
pub(super) struct Sums(pub(super) [i32; MAX_TILE_ROWS * MAX_PANEL]);

/// Where a tile's operands begin.
pub(super) struct Operands<S: Simd> {
    pub(super) acts: *const S::Act,
    /// Activations from one row to the next.
    pub(super) stride: usize,
    pub(super) panel: *const i8,
    pub(super) groups: usize,
}

/// Sums `rows` rows, 1..=[`Simd::TILE_ROWS`].
///
/// # Safety
/// `acts` is valid for reading `rows` rows of `groups * K_GROUP` activations, `panel` for that many
/// features of two vectors of channels; `groups` is a multiple of [`GROUP_UNROLL`].
#[inline(always)]
pub(super) unsafe fn sums<S: Simd>(s: S, rows: usize, from: &Operands<S>, to: &mut Sums) {
    // SAFETY: each arm reads as many rows as it is chosen for. Few rows leave too few independent
    // sums to hide the latency of a dot, so they split the features over two or four sets of sums.
    unsafe {
        match rows {
            1 => tile::<S, 1, 4>(s, from, to),
            2 => tile::<S, 2, 2>(s, from, to),
            3 => tile::<S, 3, 1>(s, from, to),
            4 => tile::<S, 4, 1>(s, from, to),
            5 if S::TILE_ROWS >= 5 => tile::<S, 5, 1>(s, from, to),
            6 if S::TILE_ROWS >= 6 => tile::<S, 6, 1>(s, from, to),
            7 if S::TILE_ROWS >= 7 => tile::<S, 7, 1>(s, from, to),
            8 if S::TILE_ROWS >= 8 => tile::<S, 8, 1>(s, from, to),
            _ => debug_assert!(false, "a tile of {rows} rows"),
        }
    }
}

/// R rows; the features in SETS interleaved sets of sums, added at the end.
///
/// # Safety
/// As [`sums`].
#[inline(always)]
unsafe fn tile<S: Simd, const R: usize, const SETS: usize>(
    s: S,
    from: &Operands<S>,
    to: &mut Sums,
) {
    debug_assert!(from.groups.is_multiple_of(GROUP_UNROLL) && GROUP_UNROLL.is_multiple_of(SETS));
    let vector = S::LANES * S::K_GROUP;
    // SAFETY: group g < groups reads K_GROUP activations of each of R rows and two vectors of
    // weights.
    unsafe {
        let mut acc = [[[s.zero_i32(); 2]; R]; SETS];
        let mut g = 0;
        while g < from.groups {
            for (set, acc) in acc.iter_mut().enumerate() {
                let w = from.panel.add((g + set) * 2 * vector);
                let w = [s.load_w(w), s.load_w(w.add(vector))];
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = s.load_a(from.acts.add(r * from.stride + (g + set) * S::K_GROUP));
                    *acc = [s.dot(acc[0], a, w[0]), s.dot(acc[1], a, w[1])];
                }
            }
            g += SETS;
        }
        for r in 0..R {
            for v in 0..2 {
                let mut sum = acc[0][r][v];
                for acc in &acc[1..] {
                    sum = s.add_i32(sum, acc[r][v]);
                }
                s.store_i32(to.0.as_mut_ptr().add((2 * r + v) * S::LANES), sum);
            }
        }
    }
}
