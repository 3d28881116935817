//! The forms in which f32 values lie in memory.

use super::Simd;
use crate::aligned::Number;

/// A form. Implementations are `#[inline(always)]`.
pub(crate) trait Stored {
    type Number: Number;

    /// # Safety
    /// `p` is valid for reading [`Simd::LANES`] numbers.
    unsafe fn load<S: Simd>(s: S, p: *const Self::Number) -> S::F;
}

/// A form that is also written.
pub(crate) trait Storable: Stored {
    /// # Safety
    /// `p` is valid for writing [`Simd::LANES`] numbers.
    unsafe fn store<S: Simd>(s: S, p: *mut Self::Number, x: S::F);
}

pub(crate) struct AsF32;
pub(crate) struct AsF16;
pub(crate) struct AsBf16;

impl Stored for AsF32 {
    type Number = f32;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const f32) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(p) }
    }
}

impl Stored for AsF16 {
    type Number = u16;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_f16(p) }
    }
}

impl Stored for AsBf16 {
    type Number = u16;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const u16) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16(p) }
    }
}

impl Storable for AsF32 {
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut f32, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store(p, x) }
    }
}

impl Storable for AsF16 {
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut u16, x: S::F) {
        // SAFETY: the caller's promise.
        unsafe { s.store_f16(p, x) }
    }
}
