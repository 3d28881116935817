//! By how much the rate changes in a minute, and what that makes margins worth before much was seen.
//!
//! Growth is taken to be nearly a random walk. That is wrong in its own way for every traffic, so it counts
//! only until the imagined fleets have something to say.

use std::time::Duration;

use super::imagined::{ByMargin, by_margin, left};
use super::rate::Estimate;
use super::strain::Strain;
use crate::chance::normal_tail;

/// Before anything was seen, the logarithm of the rate is taken to have this standard deviation
/// in a minute,
const FIRST_DEVIATION: f64 = 0.1;

/// and longer times this power of it: a little less than a random walk's half, as part of what
/// traffic does comes back.
const ROUGHNESS: f64 = 0.4;

/// Minutes that the first deviation is worth beside those that were watched.
const FIRST_MINUTES: f64 = 10.0;

/// What was watched counts half after six hours.
const HALF_LIFE_S: f64 = 6.0 * 3600.0;

/// Growth is told apart in such steps, in standard deviations.
const STEPS: usize = 32;
const STEP: f64 = 0.125;

/// Between a change of the demand and its detection.
const DETECTION: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(super) struct Volatility {
    /// Minutes that were watched, and the squared changes of the logarithm of the rate in each.
    minutes: f64,
    squares: f64,
}

impl Volatility {
    /// Over these seconds a minute lay between two estimates such as these.
    pub fn push(&mut self, seconds: f64, before: &Estimate, after: &Estimate) {
        if before.per_s <= 0.0 || after.per_s <= 0.0 {
            return;
        }
        let left = left(seconds, HALF_LIFE_S);
        self.minutes = self.minutes * left + seconds / 60.0;
        // What chance alone makes of two estimates is no change.
        let noise = before.error.powi(2) + after.error.powi(2);
        let change = (after.per_s / before.per_s).ln().powi(2) - noise;
        self.squares = (self.squares * left + seconds / 60.0 * change).max(0.0);
    }

    /// Share of requests that would miss the promise with each margin, until a launch serves.
    pub fn missed(&self, lead_time: Duration, strain: &Strain) -> ByMargin {
        let seconds = (lead_time + DETECTION).as_secs_f64();
        let first = FIRST_MINUTES * FIRST_DEVIATION.powi(2);
        let square = (first + self.squares) / (FIRST_MINUTES + self.minutes);
        let deviation = square.sqrt() * (seconds / 60.0).powf(ROUGHNESS);
        let grown: [(f64, f64); STEPS] = std::array::from_fn(|step| {
            let at = step as f64 * STEP;
            let share = normal_tail(at) - normal_tail(at + STEP);
            (share, ((at + STEP / 2.0) * deviation).exp())
        });
        by_margin(|margin| {
            let missed =
                grown.map(|(share, factor)| share * strain.growing(factor, margin, seconds));
            missed.iter().sum()
        })
    }
}
