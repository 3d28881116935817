//! Knative's pod autoscaler (KPA) on concurrency.
//!
//! Source: knative serving pkg/autoscaler/scaling/autoscaler.go. The activator counts what waits,
//! so concurrency is what is in the queue and in flight. Windows are means over the time itself, which
//! the 1 s buckets of the original come to.

use std::time::Duration;

use tidegate_queue::Moment;

use super::history::History;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Timing};

/// `stable-window`.
pub(super) const STABLE_WINDOW: Duration = Duration::from_secs(60);

const PERIOD: Duration = Duration::from_secs(2);

/// A scrape a second.
const LAG: Duration = Duration::from_secs(1);

/// `panic-window-percentage`, as a share.
const PANIC_SHARE: f64 = 0.1;

/// `panic-threshold-percentage`, as a ratio.
const PANIC_THRESHOLD: f64 = 2.0;

const MAX_SCALE_UP_RATE: f64 = 1000.0;
const MAX_SCALE_DOWN_RATE: f64 = 2.0;

#[derive(Clone, Debug)]
pub(super) struct Kpa {
    capacity: Capacity,
    /// Concurrency aimed at per pod.
    target: f64,
    window: Duration,
    history: History,
    panic: Panic,
}

/// While it panics it does not shrink.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Panic {
    /// No tick yet. An autoscaler that finds pods begins in panic, so as not to shrink before it
    /// has data for a window.
    Unstarted,
    Calm,
    Since {
        last_over: Moment,
        most: u32,
    },
}

impl Kpa {
    pub fn new(capacity: Capacity, setting: Setting) -> Kpa {
        Kpa {
            capacity,
            target: setting.target * capacity.slots,
            window: setting.window,
            history: History::new(setting.window),
            panic: Panic::Unstarted,
        }
    }

    fn concurrency(&self, window: Duration) -> Option<f64> {
        let means = self.history.means(window)?;
        Some(means.in_flight + means.waiting)
    }

    fn desired(&mut self, now: Moment, ready: u32) -> Option<u32> {
        let stable = self.concurrency(self.window)?;
        let panicking = self.concurrency(self.window.mul_f64(PANIC_SHARE))?;
        let ready = f64::from(ready.max(1));
        let limits = (ready / MAX_SCALE_DOWN_RATE).floor()..=ready * MAX_SCALE_UP_RATE;
        let wanted = |concurrency: f64| (concurrency / self.target).ceil();
        let within = |pods: f64| pods.max(*limits.start()).min(limits.end().ceil()) as u32;
        let over = wanted(panicking) / ready >= PANIC_THRESHOLD;
        let stable = within(wanted(stable));
        let panicking = within(wanted(panicking));
        self.panic = self.panic.next(now, self.window, over, ready as u32);
        Some(match &mut self.panic {
            Panic::Since { most, .. } => {
                *most = stable.max(panicking).max(*most);
                *most
            }
            Panic::Unstarted | Panic::Calm => stable,
        })
    }
}

impl Panic {
    fn next(self, now: Moment, window: Duration, over: bool, ready: u32) -> Panic {
        match self {
            Panic::Unstarted if ready > 1 => Panic::Since {
                last_over: now,
                most: ready,
            },
            Panic::Unstarted | Panic::Calm if over => Panic::Since {
                last_over: now,
                most: 0,
            },
            Panic::Since { most, .. } if over => Panic::Since {
                last_over: now,
                most,
            },
            Panic::Since { last_over, .. } if last_over + window < now => Panic::Calm,
            Panic::Since { .. } => self,
            Panic::Unstarted | Panic::Calm => Panic::Calm,
        }
    }
}

impl Autoscaler for Kpa {
    fn timing(&self) -> Timing {
        Timing {
            period: PERIOD,
            lag: LAG,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let Some(sample) = observed.sample else {
            return Orders::Hold;
        };
        self.history.push(sample);
        match self.desired(now, observed.serving) {
            Some(desired) => Orders::Size(self.capacity.clamp(desired)),
            None => Orders::Hold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::Feed;
    use super::super::{Capacity, Rival};
    use super::*;

    const CAPACITY: Capacity = Capacity {
        slots: 4.0,
        per_s: 2.0,
        min: 1,
        max: 100,
    };

    #[test]
    fn begins_in_panic_and_follows_the_stable_window_after_it() {
        let mut kpa = Kpa::new(CAPACITY, Rival::KnativeKpa.defaults());
        let mut feed = Feed::default();
        // 14 / 2.8 = 5 pods; 10 are there, and stay for a window.
        let answers = feed.workers(10, 0).in_flight(14.0).repeat(2, 33, &mut kpa);
        assert!(answers[..31].iter().all(|answer| *answer == Some(10)));
        assert_eq!(answers[31], Some(5), "62 s after the first tick");
    }

    #[test]
    fn panics_on_the_short_window_and_does_not_shrink_in_it() {
        let mut kpa = Kpa::new(CAPACITY, Rival::KnativeKpa.defaults());
        let mut feed = Feed::default();
        feed.workers(4, 0).in_flight(11.0).repeat(2, 40, &mut kpa);
        // In 6 s of 16 in flight and 14 in the queue: 30 / 2.8 = 11 pods, more than twice 4.
        feed.in_flight(16.0).waiting(14.0);
        let grown = feed.repeat(2, 3, &mut kpa);
        // After 2 s: (2 * 30 + 4 * 11) / 6 = 17.3, 7 pods; 4 s: 23.7, 9 pods, 2.25 times 4.
        // Below the threshold the stable window counts: 11.63 / 2.8 = 5 pods.
        assert_eq!(grown, [Some(5), Some(9), Some(11)]);
        feed.workers(11, 0).in_flight(5.0).waiting(0.0);
        let after = feed.repeat(2, 40, &mut kpa);
        // It was last over at the third tick; the panic ends once more than 60 s have passed.
        assert!(after[..30].iter().all(|answer| *answer == Some(11)));
        // Then 5 / 2.8 = 2 pods, but no fewer than half of 11.
        assert_eq!(after[30], Some(5));
    }
}
