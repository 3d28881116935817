//! Memory whose parts are written by different members and then read by all.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;

use crate::aligned::Number;

/// A matrix whose rows are written by different members and then read by all.
#[derive(Clone, Copy)]
pub(crate) struct SharedRows<'a, T = f32> {
    values: &'a [UnsafeCell<T>],
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: members reach the values only through the unsafe methods, whose callers keep writes and
// reads apart.
unsafe impl<T: Number + Send> Send for SharedRows<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Number + Send> Sync for SharedRows<'_, T> {}

impl<'a, T: Number> SharedRows<'a, T> {
    pub(crate) fn new(values: &'a mut [T]) -> Self {
        // SAFETY: UnsafeCell<T> has the layout of T, and the exclusive borrow lasts as long as
        // this.
        let values = unsafe { &*(std::ptr::from_mut(values) as *const [UnsafeCell<T>]) };
        Self {
            values,
            borrow: PhantomData,
        }
    }

    /// # Safety
    /// Until a barrier or the end of this borrow, nobody else reads or writes these values.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn write(&self, range: Range<usize>) -> &'a mut [T] {
        let part = &self.values[range];
        // SAFETY: the range was checked just above; the caller is alone with it.
        unsafe { std::slice::from_raw_parts_mut(part.as_ptr().cast_mut().cast(), part.len()) }
    }

    /// # Safety
    /// Until the end of this borrow nobody writes these values.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &'a [T] {
        let part = &self.values[range];
        // SAFETY: the range was checked just above; nobody writes it.
        unsafe { std::slice::from_raw_parts(part.as_ptr().cast(), part.len()) }
    }

    /// Where value `at` is. Whoever uses the pointer keeps writes and reads apart.
    pub(crate) fn pointer(&self, at: usize) -> *mut T {
        self.values[at..].as_ptr().cast_mut().cast()
    }
}
