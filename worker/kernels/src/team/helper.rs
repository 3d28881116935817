//! A thread that does what it is given, and waits for the next.

use std::borrow::BorrowMut;
use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};

/// Turns of spinning before a helper without work parks: some tens of microseconds.
const SPINS: u32 = 2000;

const IDLE: u8 = 0;
const WORKING: u8 = 1;
const CLOSED: u8 = 2;

/// A thread for [`share`]. It spins for a moment after each piece of work, because the next usually
/// follows at once, and then parks. It ends when this is dropped.
pub(crate) struct Helper {
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

/// Called with 0 on the caller's thread and with 1.. on the helpers'. Does not unwind.
type Work = dyn Fn(usize) + Sync;

/// Where the caller leaves work for a helper.
struct Board {
    /// [`IDLE`], [`WORKING`] or [`CLOSED`].
    state: AtomicU8,
    /// The work and the helper's number in it; valid while the state is [`WORKING`].
    work: UnsafeCell<Option<(*const Work, usize)>>,
    /// The helper is parked or about to be.
    parked: AtomicBool,
}

// SAFETY: `work` is written by the caller alone, while the state is IDLE, and read by the helper alone,
// while it is WORKING.
unsafe impl Sync for Board {}
// SAFETY: the pointer is to something that may be shared.
unsafe impl Send for Board {}

/// Calls `work` on this thread and on each helper's, and returns when all have returned.
pub(super) fn share<H: BorrowMut<Helper>>(helpers: &mut [H], work: &(dyn Fn(usize) + Sync)) {
    for (index, helper) in helpers.iter_mut().enumerate() {
        // SAFETY: `work` outlives this call, which does not return or unwind before all are done.
        unsafe { helper.borrow_mut().begin(work, index + 1) };
    }
    work(0);
    for helper in helpers {
        helper.borrow_mut().finish();
    }
}

impl Helper {
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(name: String) -> io::Result<Self> {
        let board = Arc::new(Board {
            state: AtomicU8::new(IDLE),
            work: UnsafeCell::new(None),
            parked: AtomicBool::new(false),
        });
        let its_board = Arc::clone(&board);
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || its_board.serve())?;
        Ok(Self {
            board,
            thread: Some(thread),
        })
    }

    /// # Safety
    /// `work` lives until [`Helper::finish`] has returned, and does not unwind.
    unsafe fn begin(&mut self, work: &(dyn Fn(usize) + Sync), index: usize) {
        // SAFETY: only the lifetime changes, for which the caller vouches.
        let work: *const Work = unsafe { std::mem::transmute(work) };
        // SAFETY: the helper is idle and does not read it.
        unsafe { *self.board.work.get() = Some((work, index)) };
        self.say(WORKING);
    }

    /// Returns when the helper is idle.
    fn finish(&mut self) {
        let mut spins = 0;
        while self.board.state.load(Ordering::Acquire) == WORKING {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    fn say(&self, state: u8) {
        self.board.state.store(state, Ordering::SeqCst);
        if self.board.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.say(CLOSED);
        if let Some(thread) = self.thread.take() {
            // What it did does not unwind.
            drop(thread.join());
        }
    }
}

impl Board {
    /// A helper's life.
    fn serve(&self) {
        while self.await_word() == WORKING {
            // SAFETY: the caller wrote it before it said WORKING, and waits for IDLE.
            if let Some((work, index)) = unsafe { *self.work.get() } {
                // SAFETY: as above.
                unsafe { (*work)(index) };
            }
            self.state.store(IDLE, Ordering::Release);
        }
    }

    /// Waits until the state is not IDLE.
    fn await_word(&self) -> u8 {
        for _ in 0..SPINS {
            match self.state.load(Ordering::Acquire) {
                IDLE => std::hint::spin_loop(),
                state => return state,
            }
        }
        loop {
            self.parked.store(true, Ordering::SeqCst);
            match self.state.load(Ordering::SeqCst) {
                IDLE => thread::park(),
                state => {
                    self.parked.store(false, Ordering::SeqCst);
                    return state;
                }
            }
        }
    }
}
