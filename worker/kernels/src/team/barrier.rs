//! Where members of a team wait for each other.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Turns of spinning before a waiting member offers its core to others.
const SPINS: u32 = 4096;

/// A member left before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a thread that shared the work failed")
    }
}

impl std::error::Error for Broken {}

/// Where members wait for each other.
pub(crate) struct Barrier {
    members: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            members,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns when all members have called it. What they wrote before is then visible to all.
    pub(crate) fn wait(&self) -> Result<(), Broken> {
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

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Held by a member while it works: if it is dropped before [`Membership::done`], by an error
    /// or a panic, the others stop waiting.
    pub(crate) fn join(&self) -> Membership<'_> {
        Membership {
            barrier: self,
            done: false,
        }
    }
}

pub(crate) struct Membership<'a> {
    barrier: &'a Barrier,
    done: bool,
}

impl Membership<'_> {
    pub(crate) fn done(mut self) {
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
