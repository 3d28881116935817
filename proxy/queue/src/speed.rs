//! How fast each endpoint is, learned from the service times of its answers, so that a slow one is
//! distinguished from its equals by evidence and not by chance.
//!
//! Service times are compared by their logarithms: then one long request weighs little, and a
//! worker that is k times slower is apart by ln k whatever it is asked. An endpoint counts as slow
//! while the mean of its last answers is above that of the fast ones by more than chance explains.

use std::time::Duration;

/// Weight of the newest service time: about the last 127 count, (2 - w) / w for a weight of w.
const NEWEST: f64 = 1.0 / 64.0;

/// Standard errors that an endpoint must be apart: beyond what chance does to any of thousands.
const CERTAINTY: f64 = 4.0;

/// And the factor beyond that, so that small differences do not count.
const LEAST_FACTOR: f64 = 1.25;

/// An endpoint that is asked rarely is judged by its last few answers.
const OF_A_PROBE: f64 = 12.0;

/// Shorter services are all alike: what differs is the network.
const SHORTEST_S: f64 = 1e-3;

/// Deviation that is assumed at least.
const LEAST_DEVIATION: f64 = 0.2;

/// Deviations above the mean that one normal variable in a thousand exceeds.
const ONE_IN_A_THOUSAND: f64 = 3.09;

/// What is known of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Speed {
    /// Running mean of the logarithms of its service times in seconds.
    mean: f64,
    /// How many count in it.
    samples: f64,
}

impl Speed {
    /// Takes in a service time; returns how far it was from the mean before.
    pub fn record(&mut self, service: Duration) -> f64 {
        let log = log_of(service);
        let off = match self.samples {
            0.0 => 0.0,
            _ => log - self.mean,
        };
        let weight = NEWEST.max(1.0 / (self.samples + 1.0));
        self.mean = match self.samples {
            0.0 => log,
            _ => self.mean + weight * off,
        };
        self.samples = (self.samples + 1.0).min((2.0 - NEWEST) / NEWEST);
        off
    }

    /// The mean, once there is one to speak of.
    pub fn known_mean(&self) -> Option<f64> {
        (self.samples >= 4.0).then_some(self.mean)
    }

    /// From now on few answers suffice to change what is known.
    pub fn forget_most(&mut self) {
        self.samples = self.samples.min(OF_A_PROBE);
    }

    /// How many times slower than `reference` it is, 1 unless that is certain.
    pub fn slowness(&self, reference: f64, deviation: f64) -> f64 {
        if self.samples < 4.0 {
            return 1.0;
        }
        let apart = self.mean - reference;
        let by_chance = CERTAINTY * deviation.max(LEAST_DEVIATION) / self.samples.sqrt();
        match apart > by_chance + LEAST_FACTOR.ln() {
            true => apart.exp(),
            false => 1.0,
        }
    }

    /// Whether a service was longer than this endpoint's are.
    pub fn is_raised_by(&self, service: Duration) -> bool {
        self.samples == 0.0 || log_of(service) > self.mean
    }

    /// Whether a service was as the fast ones' are rather than as this endpoint's.
    pub fn is_surprised_by(&self, service: Duration, reference: f64) -> bool {
        log_of(service) < (reference + self.mean) / 2.0
    }
}

/// What one service in a thousand exceeds, if their logarithms are normal with this mean and deviation.
pub(crate) fn longest(mean: f64, deviation: f64) -> Duration {
    let log = mean + ONE_IN_A_THOUSAND * deviation.max(LEAST_DEVIATION);
    Duration::try_from_secs_f64(log.exp()).unwrap_or(Duration::MAX)
}

fn log_of(service: Duration) -> f64 {
    service.as_secs_f64().max(SHORTEST_S).ln()
}

/// The running mean of squares of what [`Speed::record`] returns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    mean_square: f64,
    samples: f64,
}

impl Spread {
    pub fn record(&mut self, off: f64) {
        let weight = (NEWEST / 4.0).max(1.0 / (self.samples + 1.0));
        self.mean_square += weight * (off * off - self.mean_square);
        self.samples += 1.0;
    }

    pub fn deviation(&self) -> f64 {
        self.mean_square.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(services: impl IntoIterator<Item = f64>) -> Speed {
        let mut speed = Speed::default();
        for service in services {
            speed.record(Duration::from_secs_f64(service));
        }
        speed
    }

    #[test]
    fn an_endpoint_is_slow_when_chance_does_not_explain_it() {
        let reference = 0.1_f64.ln();
        let slowness = |speed: Speed| speed.slowness(reference, 1.0);
        assert_eq!(slowness(after([0.6; 3])), 1.0, "too few to tell");
        assert_eq!(slowness(after([0.6; 4])), 1.0, "chance may be it");
        assert!((slowness(after([0.6; 30])) - 6.0).abs() < 0.01);
        assert_eq!(slowness(after([0.12; 1000])), 1.0, "that is no difference");
        let recovered = [vec![0.6; 100], vec![0.1; 100]].concat();
        assert_eq!(slowness(after(recovered)), 1.0);
    }
}
