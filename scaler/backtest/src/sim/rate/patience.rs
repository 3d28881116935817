//! Whether a request that arrives now can be answered in time, by the queue's estimate: see
//! `tidegate_queue`. That estimate uses the ages of each worker's requests; this one uses their mean.

use std::time::Duration;

use crate::sim::{Request, ServiceTime};

/// Weight of the newest service time in the running mean.
const NEWEST: f64 = 1.0 / 64.0;

/// A request that has run longer than the mean is expected to need this share of it more.
const OVERDUE: f64 = 0.1;

/// Steps of the integral over ages, up to the mean.
const STEPS: usize = 100;

/// The running mean of service times, and how much of it is left of those that run.
pub(super) struct Patience {
    mean_s: f64,
    seen: u32,
    /// For ages from 0 to the mean in equal steps, the share of running requests that is younger.
    younger: Vec<f64>,
}

impl Patience {
    /// What runs on busy slots has been running for `a` with density `P(S > a) / E[S]`: the age of
    /// a renewal process in equilibrium.
    pub fn new(service: &ServiceTime) -> Patience {
        let step_s = service.mean_s() / STEPS as f64;
        let mut share = 0.0;
        let younger = (0..STEPS).map(|step| {
            let middle_s = (step as f64 + 0.5) * step_s;
            share += service.longer_than(middle_s) / STEPS as f64;
            share
        });
        Patience {
            mean_s: 0.0,
            seen: 0,
            younger: younger.collect(),
        }
    }

    pub fn answered(&mut self, request: &Request) {
        self.seen = self.seen.saturating_add(1);
        let weight = NEWEST.max(1.0 / f64::from(self.seen));
        self.mean_s += weight * (request.service.as_secs_f64() - self.mean_s);
    }

    /// Whether a request behind `place` others would be answered within `left`.
    pub fn suffices(&self, place: usize, slots: f64, left: Duration) -> bool {
        if self.seen == 0 || slots < 1.0 {
            return true;
        }
        let rounds = (place as f64 / slots).floor();
        let nth = place as f64 / slots - rounds;
        // The oldest are done first.
        let younger = 1.0 - nth;
        let age = self.younger.partition_point(|share| *share < younger);
        let remaining = (1.0 - age as f64 / STEPS as f64).max(OVERDUE);
        (remaining + rounds + 1.0) * self.mean_s <= left.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_far_back_in_the_queue_are_refused_at_once() {
        let service = ServiceTime::default();
        let mut patience = Patience::new(&service);
        let second = Duration::from_secs(1);
        assert!(
            patience.suffices(1000, 10.0, second),
            "nothing is known yet"
        );
        patience.answered(&Request {
            arrived: Duration::ZERO,
            service: 2 * second,
        });
        // Two seconds of its own, and two for each round of ten before it.
        assert!(patience.suffices(0, 10.0, 3 * second));
        assert!(patience.suffices(30, 10.0, 9 * second));
        assert!(!patience.suffices(39, 10.0, 9 * second));
        assert!(!patience.suffices(50, 10.0, 10 * second));
    }
}
