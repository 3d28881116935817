//! Threads that work on one thing together and wait for the next.
//!
//! A [`Team`] is made once and has all its threads; an encoder's workspaces bring a thread each, so that
//! as many work together as are free. The caller is the first member of either.

mod barrier;
mod helper;
mod shared;

pub(crate) use barrier::Barrier;
pub use barrier::Broken;
pub(crate) use helper::Helper;
pub(crate) use shared::SharedRows;

use std::borrow::BorrowMut;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::quant::split;

/// Threads for [`Team::run`]; they end with it.
pub struct Team {
    others: Vec<Helper>,
}

/// One member's place in a piece of work.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// 0..count, the caller being 0.
    pub index: usize,
    pub count: usize,
    pub(crate) barrier: &'a Barrier,
}

impl Member<'_> {
    /// Returns when all members have called it. What they wrote before is then visible to all.
    ///
    /// # Errors
    /// Another member failed.
    pub fn wait(&self) -> Result<(), Broken> {
        self.barrier.wait()
    }

    /// This member's range of `len` things that are cut at multiples of `unit`.
    pub(crate) fn share(&self, len: usize, unit: usize) -> Range<usize> {
        let mut parts = split(len, self.count, unit);
        parts.nth(self.index).unwrap_or(len..len)
    }
}

impl Team {
    /// A team of `members`, the caller's thread among them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(members: usize) -> io::Result<Self> {
        let others = (1..members).map(|index| Helper::start(format!("kernels-{index}")));
        Ok(Self {
            others: others.collect::<io::Result<_>>()?,
        })
    }

    /// Members, the caller included.
    pub fn members(&self) -> usize {
        self.others.len() + 1
    }

    /// Calls `work` once for each member, each on its thread, and returns when all have returned.
    /// Members that wait for one that failed stop waiting.
    ///
    /// # Errors
    /// The first error of a member, or that one panicked.
    pub fn run<E: From<Broken> + Send>(
        &mut self,
        work: impl Fn(Member<'_>) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        run_with(&mut self.others, work)
    }
}

/// [`Team::run`] with the caller and these helpers as its members.
pub(crate) fn run_with<H: BorrowMut<Helper>, E: From<Broken> + Send>(
    others: &mut [H],
    work: impl Fn(Member<'_>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let count = others.len() + 1;
    let barrier = Barrier::new(count);
    let failure = Mutex::new(None);
    let member = |index: usize| {
        let membership = barrier.join();
        let member = Member {
            index,
            count,
            barrier: &barrier,
        };
        match catch_unwind(AssertUnwindSafe(|| work(member))) {
            Ok(Ok(())) => membership.done(),
            Ok(Err(error)) => {
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
            }
            Err(_) => drop(membership),
        }
    };
    helper::share(others, &member);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None if barrier.is_broken() => Err(Broken.into()),
        None => Ok(()),
    }
}
