//! Growing pauses between launches that fail repeatedly.

use std::time::Duration;

use crate::Time;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Counts failed starts in a row; each doubles the wait before the next one.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    failures: u32,
    until: Option<Time>,
}

impl Breaker {
    /// A start failed. Returns how long to wait before the next.
    pub fn failed(&mut self, now: Time) -> Duration {
        let doublings = self.failures.min(16);
        let wait = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
        wait
    }

    /// A start succeeded: the next failure is the first again.
    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when nothing is to be started; `None` when something may be.
    pub fn held_until(&self, now: Time) -> Option<Time> {
        self.until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_minute_and_a_success_forgets_them() {
        let mut breaker = Breaker::default();
        let now = Time::from_ms(5_000);
        let waits: Vec<_> = (0..8).map(|_| breaker.failed(now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(breaker.held_until(now), Some(Time::from_ms(65_000)));
        assert_eq!(breaker.held_until(Time::from_ms(65_000)), None);
        breaker.succeeded();
        assert_eq!((breaker.failures(), breaker.held_until(now)), (0, None));
    }
}
