//! Buffers that begin on a cache line, so that a vector load never straddles two.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

pub(crate) const LINE_BYTES: usize = 64;

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
pub(crate) struct Aligned<T> {
    /// The numbers, and up to a line before them. Not allocated with the alignment of a line: the
    /// system's allocator writes the zeros of such memory, and then all of it is resident.
    allocation: Box<[u8]>,
    start: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Number> Aligned<T> {
    /// Pages that are never written take no memory.
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = (len * size_of::<T>()).next_multiple_of(LINE_BYTES) + LINE_BYTES - 1;
        let allocation = Box::<[u8]>::new_zeroed_slice(bytes);
        // SAFETY: zero bytes are bytes.
        let allocation = unsafe { allocation.assume_init() };
        let start = allocation.as_ptr().align_offset(LINE_BYTES);
        assert!(start < LINE_BYTES, "an address can be aligned");
        Self {
            allocation,
            start,
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
        (self.len * size_of::<T>()).next_multiple_of(LINE_BYTES)
    }
}

impl<T: Number> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        Self::padded(self, self.len)
    }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let first = self.allocation[self.start..].as_ptr();
        // SAFETY: from there on the allocation holds at least len numbers, initialised, and it is
        // aligned for any of them.
        unsafe { std::slice::from_raw_parts(first.cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let first = self.allocation[self.start..].as_mut_ptr();
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(first.cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_not_resident() {
        let resident = || {
            let pages = std::fs::read_to_string("/proc/self/statm").expect("it can be read");
            let pages = pages.split(' ').nth(1).expect("a second number");
            4096 * pages.parse::<usize>().expect("a number")
        };
        let before = resident();
        let large = Aligned::<f32>::zeroed(64 << 20);
        assert_eq!(large.as_ptr().align_offset(LINE_BYTES), 0);
        assert!(large[large.len() - 1] == 0.0);
        assert!(resident() < before + (64 << 20), "256 MB were not written");
        let copy = Aligned::padded(&[1.0_f32, 2.0], 3).clone();
        assert_eq!(*copy, [1.0, 2.0, 0.0]);
    }
}
