//! A CloudWatch alarm: so many data points in a row beyond a threshold.

use std::collections::VecDeque;
use std::time::Duration;

/// Period of standard metrics; also how often an alarm's action is repeated while it lasts.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// Until a data point can be read.
pub(super) const PUBLICATION: Duration = Duration::from_secs(60);

/// Data points in a row above the target before target tracking grows.
pub(super) const HIGH_POINTS: usize = 3;

/// Data points in a row below [`LOW_SHARE`] of the target before target tracking shrinks.
pub(super) const LOW_POINTS: usize = 15;

/// As the alarms that target tracking makes are set; the guide says "more than 10 % lower".
pub(super) const LOW_SHARE: f64 = 0.9;

/// The latest data points, one a period.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    values: VecDeque<f64>,
}

impl Points {
    pub fn push(&mut self, value: f64) {
        self.values.push_back(value);
        if self.values.len() > LOW_POINTS {
            self.values.pop_front();
        }
    }

    /// Too little data: the alarm does nothing, and begins anew.
    pub fn missing(&mut self) {
        self.values.clear();
    }

    pub fn all_above(&self, count: usize, threshold: f64) -> bool {
        self.last(count, |value| value > threshold)
    }

    pub fn all_at_least(&self, count: usize, threshold: f64) -> bool {
        self.last(count, |value| value >= threshold)
    }

    pub fn all_below(&self, count: usize, threshold: f64) -> bool {
        self.last(count, |value| value < threshold)
    }

    pub fn all_at_most(&self, count: usize, threshold: f64) -> bool {
        self.last(count, |value| value <= threshold)
    }

    fn last(&self, count: usize, breaches: impl Fn(f64) -> bool) -> bool {
        let newest = self.values.iter().rev().take(count);
        self.values.len() >= count && newest.copied().all(breaches)
    }
}
