//! Which starts failed. A worker that dies as soon as it is ready has not started either.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_control::{Breaker, Time};

/// How long a worker must have been ready before its start has succeeded.
const PROOF: Duration = Duration::from_secs(10);

/// Counts starts that fail in a row.
#[derive(Debug, Default)]
pub struct Starts {
    breaker: Breaker,
    /// Since when workers are ready that have yet to prove themselves.
    proving: BTreeMap<String, Time>,
}

impl Starts {
    pub fn ready(&mut self, now: Time, id: &str) {
        self.proving.insert(id.to_owned(), now);
    }

    /// A worker has ended. Whether it was ready, and had yet to prove itself.
    pub fn ended(&mut self, id: &str) -> bool {
        self.proving.remove(id).is_some()
    }

    /// Whether a worker has proved itself since the last call: starts succeed.
    pub fn succeed(&mut self, now: Time) -> bool {
        let before = self.proving.len();
        self.proving.retain(|_, since| now.since(*since) < PROOF);
        let proved = self.proving.len() < before;
        if proved {
            self.breaker.succeeded();
        }
        proved
    }

    /// A start failed. Returns how long to wait before the next.
    pub fn failed(&mut self, now: Time) -> Duration {
        self.breaker.failed(now)
    }

    /// Failed starts since the last that succeeded.
    pub fn failures(&self) -> u32 {
        self.breaker.failures()
    }

    pub fn held_until(&self, now: Time) -> Option<Time> {
        self.breaker.held_until(now)
    }
}
