//! Bytes that all connections together may hold for one purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A common limit: the bytes that are still free.
#[derive(Clone)]
pub struct Allowance(Arc<AtomicUsize>);

/// What one holder has of it; given back when dropped.
pub struct Share {
    allowance: Allowance,
    held: usize,
}

impl Allowance {
    pub fn new(bytes: usize) -> Self {
        Allowance(Arc::new(AtomicUsize::new(bytes)))
    }

    pub fn share(&self) -> Share {
        Share {
            allowance: self.clone(),
            held: 0,
        }
    }
}

impl Share {
    /// Widens this share to `bytes`; `false` when all others leave less than that. Nobody waits:
    /// holders that wait for each other's share would all be late.
    pub fn widen(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.held);
        let free = &self.allowance.0;
        let take = |free: usize| free.checked_sub(missing);
        let taken =
            missing == 0 || (free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)).is_ok();
        if taken {
            self.held += missing;
        }
        taken
    }

    /// Gives back what `bytes` do not need.
    pub fn narrow(&mut self, bytes: usize) {
        let spare = self.held.saturating_sub(bytes);
        self.held -= spare;
        self.allowance.0.fetch_add(spare, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.narrow(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back_whole_and_never_exceed_the_allowance() {
        let allowance = Allowance::new(400);
        let (mut one, mut other) = (allowance.share(), allowance.share());
        assert!(one.widen(1) && one.widen(300));
        assert!(other.widen(100) && !other.widen(101));
        one.narrow(150);
        assert!(other.widen(250) && !other.widen(251));
        drop(one);
        assert!(other.widen(400));
        drop(other);
        assert_eq!(allowance.0.load(Ordering::Relaxed), 400);
    }
}
