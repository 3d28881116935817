//! The isa without vector instructions: plain Rust on arrays of four, for any CPU.
//!
//! It is also the meaning of the other isas: their integers equal its integers.

use std::array::from_fn;

use super::{Kernel, Simd};
use crate::half::{bf16_to_f32, f16_to_f32, f32_to_f16};

const LANES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    from_fn(|i| f(a[i], b[i]))
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type I = [i32; LANES];
    type Act = i16;
    type A = [i16; 2];
    type W = [i16; 2 * LANES];

    const LANES: usize = LANES;
    const K_GROUP: usize = 2;
    const TILE_ROWS: usize = 4;
    const BLOCK_TILE_ROWS: usize = 1;
    const BYTE_OFFSET: i32 = 0;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        #[inline(never)]
        fn enter<K: Kernel>(simd: Scalar, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        enter(self, kernel)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn scale(self, a: Self::F, n: Self::F) -> Self::F {
        zip(a, n, |a, n| {
            a * f32::from_bits(((n as i32 + 127) << 23) as u32)
        })
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    fn smallest(self, a: Self::F) -> f32 {
        a.into_iter().fold(f32::INFINITY, f32::min)
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::F {
        // SAFETY: the caller's promise; an array needs no more alignment than its element.
        unsafe { p.cast::<Self::F>().read() }
    }
    #[inline(always)]
    unsafe fn load_n(self, p: *const f32, n: usize, fill: f32) -> Self::F {
        // SAFETY: the caller's promise for the first n.
        from_fn(|i| if i < n { unsafe { *p.add(i) } } else { fill })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: Self::F) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::F>().write(a) }
    }
    #[inline(always)]
    unsafe fn store_n(self, p: *mut f32, n: usize, a: Self::F) {
        for (i, x) in a.into_iter().enumerate().take(n) {
            // SAFETY: the caller's promise for the first n.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    unsafe fn load_i8(self, p: *const i8) -> Self::F {
        // SAFETY: the caller's promise.
        from_fn(|i| f32::from(unsafe { *p.add(i) }))
    }
    #[inline(always)]
    unsafe fn store_act(self, p: *mut i16, a: Self::F) {
        for (i, x) in a.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *p.add(i) = x.round_ties_even() as i16 }
        }
    }
    #[inline(always)]
    unsafe fn transpose(
        self,
        src: *const f32,
        stride: usize,
        rows: usize,
        cols: usize,
        dst: *mut f32,
    ) {
        for c in 0..cols {
            for r in 0..LANES {
                // SAFETY: r < rows and c < cols lie in the block that the caller promised.
                unsafe {
                    let x = if r < rows {
                        *src.add(r * stride + c)
                    } else {
                        0.0
                    };
                    *dst.add(c * LANES * 2 + r) = x;
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn load_f16(self, p: *const u16) -> Self::F {
        // SAFETY: the caller's promise.
        from_fn(|i| f16_to_f32(unsafe { *p.add(i) }))
    }
    #[inline(always)]
    unsafe fn store_f16(self, p: *mut u16, a: Self::F) {
        for (i, x) in a.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *p.add(i) = f32_to_f16(x) }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const u16) -> Self::F {
        // SAFETY: the caller's promise.
        from_fn(|i| bf16_to_f32(unsafe { *p.add(i) }))
    }
    #[inline(always)]
    unsafe fn store_i8(self, p: *mut i8, a: Self::F) {
        for (i, x) in a.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { *p.add(i) = x.round_ties_even() as i8 }
        }
    }

    #[inline(always)]
    unsafe fn block_i8<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        first: [i32; R],
        _: usize,
    ) -> [[Self::I; 2]; R] {
        from_fn(|r| {
            from_fn(|v| {
                from_fn(|lane| {
                    (0..32).fold(first[r], |sum, k| {
                        let at = (k / 4 * 2 + v) * 4 * LANES + lane * 4 + k % 4;
                        // SAFETY: k < 32 and v < 2 stay inside what the caller promised.
                        let (w, a) = unsafe { (*w.add(at), *a.add(r * stride + k)) };
                        sum + i32::from(w as i8) * i32::from(a)
                    })
                })
            })
        })
    }
    #[inline(always)]
    unsafe fn block_u4<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        _: usize,
    ) -> [[Self::I; 2]; R] {
        from_fn(|r| {
            from_fn(|v| {
                from_fn(|lane| {
                    (0..32).fold(0, |sum, k| {
                        let at = (k / 4 % 4 * 2 + v) * 4 * LANES + lane * 4 + k % 4;
                        // SAFETY: k < 32 and v < 2 stay inside what the caller promised.
                        let (w, a) = unsafe { (*w.add(at), *a.add(r * stride + k)) };
                        sum + i32::from(w >> (k / 16 * 4) & 15) * i32::from(a)
                    })
                })
            })
        })
    }

    #[inline(always)]
    unsafe fn block_u5<const R: usize>(
        self,
        w: *const u8,
        a: *const i8,
        stride: usize,
        _: usize,
    ) -> [[Self::I; 2]; R] {
        from_fn(|r| {
            from_fn(|v| {
                from_fn(|lane| {
                    (0..32).fold(0, |sum, k| {
                        let at = (k / 4 % 4 * 2 + v) * 4 * LANES + lane * 4 + k % 4;
                        // SAFETY: k < 32 and v < 2 stay inside what the caller promised.
                        let (low, a) = unsafe { (*w.add(at), *a.add(r * stride + k)) };
                        let at = (16 * 2 + v * 4) * LANES + lane * 4 + k % 4;
                        // SAFETY: as above.
                        let high = unsafe { *w.add(at) } >> (k / 4) & 1;
                        let w = low >> (k / 16 * 4) & 15 | high << 4;
                        sum + i32::from(w) * i32::from(a)
                    })
                })
            })
        })
    }

    #[inline(always)]
    fn to_f32(self, a: Self::I) -> Self::F {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    fn add_i32(self, a: Self::I, b: Self::I) -> Self::I {
        from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn zero_i32(self) -> Self::I {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn load_i32(self, p: *const i32) -> Self::I {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::I>().read() }
    }
    #[inline(always)]
    unsafe fn store_i32(self, p: *mut i32, a: Self::I) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::I>().write(a) }
    }

    #[inline(always)]
    unsafe fn load_a(self, p: *const i16) -> Self::A {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<Self::A>().read() }
    }
    #[inline(always)]
    unsafe fn load_w(self, p: *const i8) -> Self::W {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[i8; 2 * LANES]>().read().map(i16::from) }
    }
    #[inline(always)]
    fn dot(self, acc: Self::I, a: Self::A, w: Self::W) -> Self::I {
        from_fn(|i| {
            let first = i32::from(a[0]) * i32::from(w[2 * i]);
            let second = i32::from(a[1]) * i32::from(w[2 * i + 1]);
            acc[i] + first + second
        })
    }
    #[inline(always)]
    fn prefetch(self, _: *const i8) {}
    #[inline(always)]
    fn prefetch_to_write(self, _: *const f32) {}
}
