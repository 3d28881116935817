//! What the thread of a model that generates text tells of itself while it works.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Of one moment each; none is exact together with another.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Requests that were submitted and not begun.
    waiting: AtomicUsize,
    running: AtomicUsize,
    pages_used: AtomicUsize,
    pages: usize,
}

impl Numbers {
    pub(super) fn new(pages: usize) -> Numbers {
        Numbers {
            pages,
            ..Numbers::default()
        }
    }

    pub(super) fn submitted(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn begun_or_gone(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn set(&self, running: usize, pages_used: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.pages_used.store(pages_used, Ordering::Relaxed);
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Texts that are computed.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Share of the cache's pages that is in use.
    pub fn cache_use(&self) -> f64 {
        let used = self.pages_used.load(Ordering::Relaxed);
        used as f64 / self.pages.max(1) as f64
    }
}
