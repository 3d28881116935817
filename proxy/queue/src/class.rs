//! Classes of requests: their order and their limits.
//!
//! Classes are served in a strict order, with two exceptions from the config: a class may leave part of
//! the slots free for earlier classes, and a class whose requests have waited for long gets a share of
//! the work although earlier classes wait.

use std::sync::Arc;
use std::time::Duration;

/// Names a class by its place in the order: the class 0 goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u8);

impl Class {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What one class may hold of a queue and of its workers.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassConfig {
    pub name: Arc<str>,
    /// Most requests in queue.
    pub waiting: usize,
    /// Most bytes of their bodies.
    pub waiting_bytes: u64,
    /// How long a refused request is asked to wait when nothing is known of the workers' speed.
    pub retry_after: Duration,
    /// A request that has waited for longer takes part in `share`.
    pub ageing: Duration,
    /// Part of the work handed out, by cost, that this class gets while it has such requests,
    /// although classes before it wait. 0: none, as long as they do.
    pub share: f64,
    /// Part of the workers' slots that this class leaves free. At least one slot is not.
    pub headroom: f64,
}

impl Default for ClassConfig {
    fn default() -> Self {
        ClassConfig {
            name: "default".into(),
            waiting: 1024,
            waiting_bytes: 256 << 20,
            retry_after: Duration::from_secs(5),
            ageing: Duration::from_secs(10),
            share: 0.0,
            headroom: 0.0,
        }
    }
}

impl ClassConfig {
    /// Slots of so many that this class leaves free.
    pub(crate) fn left_free(&self, slots: u64) -> u64 {
        let left = (self.headroom * slots as f64).ceil() as u64;
        left.min(slots.saturating_sub(1))
    }
}
