//! Sums of queue and fleet over time; a window is the difference of two.

use std::time::Duration;

use tidegate_queue::Moment;

/// A reading at one moment. Sums run from the start, so that the mean over any window is the
/// difference of two readings over its length, exact and not sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub at: Moment,
    pub arrivals_total: u64,
    /// Requests in flight, over time: request-seconds.
    pub in_flight_s: f64,
    /// Requests in queue, over time: request-seconds.
    pub waiting_s: f64,
    /// Workers that serve, draining ones not among them, over time: worker-seconds.
    pub serving_s: f64,
    pub in_flight: u32,
    pub waiting: u32,
    pub serving: u32,
    pub booting: u32,
}

/// Keeps the current reading, and one of every minute for the plots.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    now: Sample,
    minutes: Vec<Sample>,
    next_minute: Moment,
}

/// Where things stand until they change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub in_flight: u32,
    pub waiting: u32,
    pub serving: u32,
    pub booting: u32,
}

impl Meter {
    /// Time has passed up to `now`, during which things stood as they do.
    pub fn advance(&mut self, now: Moment, standing: Standing) {
        let passed = now.saturating_sub(self.now.at).as_secs_f64();
        self.now.in_flight_s += passed * f64::from(standing.in_flight);
        self.now.waiting_s += passed * f64::from(standing.waiting);
        self.now.serving_s += passed * f64::from(standing.serving);
        self.now.at = now;
        if now >= self.next_minute {
            self.minutes.push(self.read(standing));
            self.next_minute = now + Duration::from_secs(60);
        }
    }

    pub fn arrived(&mut self) {
        self.now.arrivals_total += 1;
    }

    pub fn read(&self, standing: Standing) -> Sample {
        Sample {
            in_flight: standing.in_flight,
            waiting: standing.waiting,
            serving: standing.serving,
            booting: standing.booting,
            ..self.now
        }
    }

    pub fn into_minutes(self) -> Vec<Sample> {
        self.minutes
    }
}
