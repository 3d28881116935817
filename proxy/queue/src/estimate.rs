//! How long until a place in the queue is served, from what has been served so far.

use std::time::Duration;

/// Weight of the newest service time in the running mean: about the last 64 requests count.
const NEWEST: f64 = 1.0 / 64.0;

/// A request that has run longer than the mean is expected to need this share of it more.
const OVERDUE: f64 = 0.1;

/// The running mean of service times.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceTime {
    mean: Option<f64>,
    seen: u32,
}

impl ServiceTime {
    pub(crate) fn record(&mut self, service: Duration) {
        let seconds = service.as_secs_f64();
        self.seen = self.seen.saturating_add(1);
        let weight = NEWEST.max(1.0 / f64::from(self.seen));
        let mean = self.mean.unwrap_or(seconds);
        self.mean = Some(mean + weight * (seconds - mean));
    }

    /// `None` until a first request was served.
    pub(crate) fn mean(&self) -> Option<Duration> {
        self.mean.map(Duration::from_secs_f64)
    }
}

/// An upper bound of [`until_departure`] that needs no ages: every slot was just taken.
pub(crate) fn at_most(place: u64, slots: u64, mean: Duration) -> Duration {
    mean.mul_f64((place / slots.max(1) + 1) as f64)
}

/// Time until departure number `place` (0 is the next one) from `slots` servers that are all
/// busy, as if every service took exactly `mean`: the servers free up in the order of their
/// ages, and then again every `mean`. `age` tells how long the n-th oldest has been at it; slots
/// whose age is not known count as just taken.
pub(crate) fn until_departure(
    place: u64,
    slots: u64,
    mean: Duration,
    age: impl Fn(usize) -> Option<Duration>,
) -> Duration {
    let slots = slots.max(1);
    let overdue = mean.mul_f64(OVERDUE);
    // Nothing remains longer than the mean, so the slots without an age come last.
    let age = age((place % slots) as usize);
    let first = age.map_or(mean, |age| mean.saturating_sub(age).max(overdue));
    first + mean.mul_f64((place / slots) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn departures_follow_the_ages_and_then_repeat() {
        let ages = [s(5.0), s(0.8), s(0.2)];
        let age = |nth: usize| ages.get(nth).copied();
        let at = |place| until_departure(place, 3, s(1.0), age).as_secs_f64();
        for (place, expected) in [(0, 0.1), (1, 0.2), (2, 0.8), (3, 1.1), (5, 1.8)] {
            assert!(
                (at(place) - expected).abs() < 1e-6,
                "place {place}: {}",
                at(place)
            );
            assert!(at(place) <= at_most(place, 3, s(1.0)).as_secs_f64());
        }
    }

    #[test]
    fn the_mean_follows_a_change_of_service_time() {
        let mut service = ServiceTime::default();
        assert_eq!(service.mean(), None);
        (0..10).for_each(|_| service.record(s(1.0)));
        (0..300).for_each(|_| service.record(s(3.0)));
        assert!(service.mean().is_some_and(|mean| mean > s(2.9)));
    }
}
