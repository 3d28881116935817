//! Threads that share the rows of one chunk.
//!
//! Each member owns some rows and needs the others' keys and values once a layer. There are two
//! buffers for those, used in turn, so one barrier a layer is enough: a member writes the buffer of
//! layer n + 2 only after the barrier of layer n + 1, which every member reaches after it has read
//! the buffer of layer n.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Turns of spinning before a waiting member offers its core to others.
const SPINS: u32 = 4096;

/// A member left before the work was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken;

/// Where members wait for each other.
pub(super) struct Barrier {
    members: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    pub(super) fn new(members: usize) -> Self {
        Self {
            members,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when all members have called it. What they wrote before is then visible to all.
    pub(super) fn wait(&self) -> Result<(), Broken> {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.members {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
            return Ok(());
        }
        let mut spins = 0;
        while self.round.load(Ordering::Acquire) == round {
            if self.broken.load(Ordering::Relaxed) {
                return Err(Broken);
            }
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Held by a member while it works: if it is dropped before [`Membership::done`], by an error
    /// or a panic, the others stop waiting.
    pub(super) fn join(&self) -> Membership<'_> {
        Membership {
            barrier: self,
            done: false,
        }
    }
}

pub(super) struct Membership<'a> {
    barrier: &'a Barrier,
    done: bool,
}

impl Membership<'_> {
    pub(super) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.barrier.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// A matrix whose rows are written by different members and then read by all.
#[derive(Clone, Copy)]
pub(super) struct SharedRows<'a> {
    values: &'a [UnsafeCell<f32>],
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: members reach the values only through the unsafe methods, whose callers keep writes and
// reads apart.
unsafe impl Send for SharedRows<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedRows<'_> {}

impl<'a> SharedRows<'a> {
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        // SAFETY: UnsafeCell<f32> has the layout of f32, and the exclusive borrow lasts as long as
        // this.
        let values = unsafe { &*(std::ptr::from_mut(values) as *const [UnsafeCell<f32>]) };
        Self {
            values,
            borrow: PhantomData,
        }
    }

    /// # Safety
    /// Until a barrier or the end of this borrow, nobody else reads or writes these values.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn write(&self, range: Range<usize>) -> &'a mut [f32] {
        let part = &self.values[range];
        // SAFETY: the range was checked just above; the caller is alone with it.
        unsafe { std::slice::from_raw_parts_mut(part.as_ptr().cast_mut().cast(), part.len()) }
    }

    /// # Safety
    /// Until the end of this borrow nobody writes these values.
    pub(super) unsafe fn read(&self, range: Range<usize>) -> &'a [f32] {
        let part = &self.values[range];
        // SAFETY: the range was checked just above; nobody writes it.
        unsafe { std::slice::from_raw_parts(part.as_ptr().cast(), part.len()) }
    }
}
