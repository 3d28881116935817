//! Samples of the last while, for means over windows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sim::Sample;

/// Means over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Means {
    pub in_flight: f64,
    pub waiting: f64,
    pub serving: f64,
    pub arrivals_per_s: f64,
}

/// Keeps samples for as long as the longest window that is asked for.
#[derive(Clone, Debug)]
pub(super) struct History {
    keep: Duration,
    samples: VecDeque<Sample>,
}

impl History {
    pub fn new(keep: Duration) -> History {
        let samples = VecDeque::from([Sample::default()]);
        History { keep, samples }
    }

    pub fn push(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| last.at >= sample.at) {
            return;
        }
        let oldest = sample.at.saturating_sub(self.keep);
        self.samples.push_back(sample);
        while self.samples.get(1).is_some_and(|next| next.at <= oldest) {
            self.samples.pop_front();
        }
    }

    /// Means from `window` before the newest sample up to it, or over what there is of that.
    /// `None` before the first sample.
    pub fn means(&self, window: Duration) -> Option<Means> {
        let newest = self.samples.back()?;
        let from = newest.at.saturating_sub(window);
        let begin = self.samples.partition_point(|sample| sample.at <= from);
        let oldest = self.samples.get(begin.saturating_sub(1))?;
        let seconds = (newest.at - oldest.at).as_secs_f64();
        (seconds > 0.0).then(|| Means {
            in_flight: (newest.in_flight_s - oldest.in_flight_s) / seconds,
            waiting: (newest.waiting_s - oldest.waiting_s) / seconds,
            serving: (newest.serving_s - oldest.serving_s) / seconds,
            arrivals_per_s: (newest.arrivals_total - oldest.arrivals_total) as f64 / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::Feed;
    use super::*;

    #[test]
    fn a_window_is_the_difference_of_two_sums() {
        let mut feed = Feed::default();
        let mut history = History::new(Duration::from_secs(60));
        assert_eq!(history.means(Duration::from_secs(60)), None);
        for (seconds, in_flight) in [(30, 2.0), (30, 4.0), (30, 9.0), (30, 1.0)] {
            history.push(feed.after(seconds).in_flight(in_flight).sample());
        }
        let mean = |seconds| history.means(Duration::from_secs(seconds));
        assert_eq!(mean(30).map(|means| means.in_flight), Some(1.0));
        assert_eq!(mean(60).map(|means| means.in_flight), Some(5.0));
    }
}
