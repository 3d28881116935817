//! Threads that work on one thing together and wait for the next.
//!
//! A team is made once. Its threads spin for a moment after each piece of work, because the next
//! usually follows at once, and then park. The caller is the first member.

mod barrier;
mod shared;

pub(crate) use barrier::Barrier;
pub use barrier::Broken;
pub(crate) use shared::SharedRows;

use std::cell::UnsafeCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Turns of spinning before a member without work parks: some tens of microseconds.
const SPINS: u32 = 2000;

/// Threads for [`Team::run`]; they end with it.
pub struct Team {
    board: Arc<Board>,
    others: Vec<JoinHandle<()>>,
}

/// One member's place in a piece of work.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// 0..count, the caller being 0.
    pub index: usize,
    pub count: usize,
    barrier: &'a Barrier,
}

impl Member<'_> {
    /// Returns when all members have called it. What they wrote before is then visible to all.
    ///
    /// # Errors
    /// Another member failed.
    pub fn wait(&self) -> Result<(), Broken> {
        self.barrier.wait()
    }
}

type Work = dyn Fn(usize) + Sync;

/// Where the caller leaves work for the others.
struct Board {
    /// Counts pieces of work; the others begin when it changes.
    round: AtomicUsize,
    /// Valid while `running` is not zero.
    work: UnsafeCell<Option<*const Work>>,
    /// Members that have not finished.
    running: AtomicUsize,
    /// The members that are parked or about to be.
    parked: Vec<AtomicBool>,
    closed: AtomicBool,
}

// SAFETY: `work` is written by the caller alone, while no member reads it: before the release of
// `round`, and after the last one has released `running`.
unsafe impl Sync for Board {}
// SAFETY: the pointer is to something that may be shared.
unsafe impl Send for Board {}

impl Team {
    /// A team of `members`, the caller's thread among them.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn new(members: usize) -> io::Result<Self> {
        let others = members.max(1) - 1;
        let board = Arc::new(Board {
            round: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            running: AtomicUsize::new(0),
            parked: (0..others).map(|_| AtomicBool::new(false)).collect(),
            closed: AtomicBool::new(false),
        });
        let mut team = Self {
            board,
            others: Vec::with_capacity(others),
        };
        for index in 1..=others {
            let board = Arc::clone(&team.board);
            let thread = thread::Builder::new()
                .name(format!("kernels-{index}"))
                .spawn(move || board.serve(index))?;
            team.others.push(thread);
        }
        Ok(team)
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
        let count = self.members();
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
        if count == 1 {
            member(0);
        } else {
            self.share(&member);
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None if barrier.is_broken() => Err(Broken.into()),
            None => Ok(()),
        }
    }

    /// Runs `member`, which does not unwind, on every thread.
    fn share(&mut self, member: &(dyn Fn(usize) + Sync)) {
        let board = &*self.board;
        // SAFETY: only the lifetime changes. The others use the pointer while `running` is above
        // zero, and this returns when it is zero.
        let work: *const Work = unsafe { std::mem::transmute(member) };
        board.running.store(self.others.len(), Ordering::Relaxed);
        // SAFETY: no member reads it before `round` changes.
        unsafe { *board.work.get() = Some(work) };
        board.round.fetch_add(1, Ordering::SeqCst);
        for (parked, other) in board.parked.iter().zip(&self.others) {
            if parked.swap(false, Ordering::SeqCst) {
                other.thread().unpark();
            }
        }
        member(0);
        let mut spins = 0;
        while board.running.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.board.closed.store(true, Ordering::SeqCst);
        self.board.round.fetch_add(1, Ordering::SeqCst);
        for other in self.others.drain(..) {
            other.thread().unpark();
            // A member's panic was caught and reported where it happened.
            drop(other.join());
        }
    }
}

impl Board {
    /// A member's life.
    fn serve(&self, index: usize) {
        let mut round = 0;
        loop {
            self.await_change(index, round);
            round = round.wrapping_add(1);
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the caller wrote it before it changed `round`, and waits for this member.
            if let Some(work) = unsafe { *self.work.get() } {
                // SAFETY: as above.
                unsafe { (*work)(index) };
            }
            self.running.fetch_sub(1, Ordering::Release);
        }
    }

    fn await_change(&self, index: usize, round: usize) {
        for _ in 0..SPINS {
            if self.round.load(Ordering::Acquire) != round {
                return;
            }
            std::hint::spin_loop();
        }
        let parked = &self.parked[index - 1];
        loop {
            parked.store(true, Ordering::SeqCst);
            if self.round.load(Ordering::SeqCst) != round {
                parked.store(false, Ordering::SeqCst);
                return;
            }
            thread::park();
        }
    }
}
