//! Walking over a slice of f32 by whole vectors and one partial vector at its end, without unsafe
//! at the caller.

use super::Simd;

/// The vector at `at`; lanes past the end of `row` are `fill`.
#[inline(always)]
pub(crate) fn read<S: Simd>(s: S, row: &[f32], at: usize, fill: f32) -> S::F {
    let rest = &row[at..];
    // SAFETY: as many lanes are read as are left.
    unsafe {
        if rest.len() >= S::LANES {
            s.load(rest.as_ptr())
        } else {
            s.load_n(rest.as_ptr(), rest.len(), fill)
        }
    }
}

/// Stores the vector at `at`; lanes past the end of `row` are dropped.
#[inline(always)]
pub(crate) fn write<S: Simd>(s: S, row: &mut [f32], at: usize, x: S::F) {
    let rest = &mut row[at..];
    // SAFETY: as many lanes are written as are left.
    unsafe {
        if rest.len() >= S::LANES {
            s.store(rest.as_mut_ptr(), x);
        } else {
            s.store_n(rest.as_mut_ptr(), rest.len(), x);
        }
    }
}

/// A value folded over a row. Implementations are `#[inline(always)]`; closures would not be.
pub(crate) trait Fold: Copy {
    /// What every lane starts from.
    const START: f32;

    /// What lanes past the end read as, so that `step` leaves the sum as it is.
    fn fill(self) -> f32;
    fn step<S: Simd>(self, s: S, sum: S::F, x: S::F) -> S::F;
    fn join<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F;
    fn finish<S: Simd>(self, s: S, sum: S::F) -> f32;
}

/// Folds a row in four independent sums, which hides the latency of a step.
#[inline(always)]
pub(crate) fn fold<S: Simd, T: Fold>(s: S, row: &[f32], what: T) -> f32 {
    let mut sums = [s.splat(T::START); 4];
    let blocks = row.chunks_exact(4 * S::LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (i, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a block holds four vectors.
            let x = unsafe { s.load(block.as_ptr().add(i * S::LANES)) };
            *sum = what.step(s, *sum, x);
        }
    }
    for at in (0..rest.len()).step_by(S::LANES) {
        sums[0] = what.step(s, sums[0], read(s, rest, at, what.fill()));
    }
    let [a, b, c, d] = sums;
    what.finish(s, what.join(s, what.join(s, a, b), what.join(s, c, d)))
}

/// The sum of x.
#[derive(Clone, Copy)]
pub(crate) struct Sum;

impl Fold for Sum {
    const START: f32 = 0.0;

    #[inline(always)]
    fn fill(self) -> f32 {
        0.0
    }
    #[inline(always)]
    fn step<S: Simd>(self, s: S, sum: S::F, x: S::F) -> S::F {
        s.add(sum, x)
    }
    #[inline(always)]
    fn join<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F) -> f32 {
        s.sum(sum)
    }
}

/// The sum of (x - origin)^2.
#[derive(Clone, Copy)]
pub(crate) struct SquaresFrom(pub(crate) f32);

impl Fold for SquaresFrom {
    const START: f32 = 0.0;

    #[inline(always)]
    fn fill(self) -> f32 {
        self.0
    }
    #[inline(always)]
    fn step<S: Simd>(self, s: S, sum: S::F, x: S::F) -> S::F {
        let d = s.sub(x, s.splat(self.0));
        s.mul_add(d, d, sum)
    }
    #[inline(always)]
    fn join<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F) -> f32 {
        s.sum(sum)
    }
}

/// The largest x.
#[derive(Clone, Copy)]
pub(crate) struct Largest;

impl Fold for Largest {
    const START: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn fill(self) -> f32 {
        f32::NEG_INFINITY
    }
    #[inline(always)]
    fn step<S: Simd>(self, s: S, sum: S::F, x: S::F) -> S::F {
        s.max(x, sum)
    }
    #[inline(always)]
    fn join<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        s.max(a, b)
    }
    #[inline(always)]
    fn finish<S: Simd>(self, s: S, sum: S::F) -> f32 {
        s.largest(sum)
    }
}
