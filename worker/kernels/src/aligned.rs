//! Buffers that begin on a cache line, so that a vector load never straddles two.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

pub(crate) const LINE_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; LINE_BYTES]);

/// Numbers: every bit pattern is a value, and zero bytes are zero.
///
/// # Safety
/// Implemented only for primitive numbers of at most [`LINE_BYTES`] bytes whose size divides it.
pub(crate) unsafe trait Number: Copy {}
// SAFETY: primitive numbers of 1, 1, 2, 4 and 4 bytes.
unsafe impl Number for i8 {}
// SAFETY: as above.
unsafe impl Number for u8 {}
// SAFETY: as above.
unsafe impl Number for u16 {}
// SAFETY: as above.
unsafe impl Number for i32 {}
// SAFETY: as above.
unsafe impl Number for f32 {}

/// A fixed number of `T`s, zero at first, aligned to a cache line.
#[derive(Clone)]
pub(crate) struct Aligned<T> {
    lines: Box<[Line]>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Number> Aligned<T> {
    /// Pages that are never written take no memory.
    pub(crate) fn zeroed(len: usize) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(LINE_BYTES);
        let lines = Box::<[Line]>::new_zeroed_slice(lines);
        Self {
            // SAFETY: zero bytes are lines of zeros.
            lines: unsafe { lines.assume_init() },
            len,
            element: PhantomData,
        }
    }

    /// A copy of `values`, followed by zeros up to `len`.
    pub(crate) fn padded(values: &[T], len: usize) -> Self {
        let mut aligned = Self::zeroed(len.max(values.len()));
        aligned[..values.len()].copy_from_slice(values);
        aligned
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * LINE_BYTES
    }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines hold at least len numbers, initialised, and are aligned for any of
        // them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
