//! Ray Serve's default policy on ongoing requests per replica.
//!
//! Source: ray python/ray/serve/autoscaling_policy.py and _private/autoscaling_state.py, with
//! scaling factors of 1. A decision needs as many ticks in a row as its delay holds; one tick that
//! says otherwise starts the count again, and the last tick's number is the one that is taken.

use std::time::Duration;

use tidegate_queue::Moment;

use super::history::History;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Timing};

/// `downscale_delay_s`.
pub(super) const DOWNSCALE_DELAY: Duration = Duration::from_secs(600);

/// `upscale_delay_s` over `downscale_delay_s` at their defaults, 30 s and 600 s.
const UPSCALE_SHARE: f64 = 0.05;

/// `CONTROL_LOOP_INTERVAL_S`.
const PERIOD: Duration = Duration::from_millis(100);

/// `metrics_interval_s`: how often handles and replicas report.
const REPORTS: Duration = Duration::from_secs(10);

/// `look_back_period_s`.
const LOOK_BACK: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) struct RayServe {
    capacity: Capacity,
    /// `target_ongoing_requests`.
    target_ongoing: f64,
    /// In ticks.
    upscale_delay: i64,
    downscale_delay: i64,
    history: History,
    next_report: Moment,
    /// Requests in the queue and in flight, as last reported.
    ongoing: Option<f64>,
    /// Ticks in a row that wanted more when positive, fewer when negative.
    counter: i64,
    target: Option<u32>,
}

impl RayServe {
    pub fn new(capacity: Capacity, setting: Setting) -> RayServe {
        let ticks = |delay: Duration| delay.div_duration_f64(PERIOD).round() as i64;
        RayServe {
            capacity,
            target_ongoing: setting.target * capacity.slots,
            upscale_delay: ticks(setting.window.mul_f64(UPSCALE_SHARE)),
            downscale_delay: ticks(setting.window),
            history: History::new(LOOK_BACK),
            next_report: Moment::ZERO,
            ongoing: None,
            counter: 0,
            target: None,
        }
    }

    /// `replica_queue_length_autoscaling_policy`, for one tick.
    fn next(&mut self, target: u32, ongoing: f64) -> u32 {
        let wanted = (ongoing / self.target_ongoing).ceil() as u32;
        let wanted = self.capacity.clamp(wanted);
        if wanted > target {
            self.counter = self.counter.max(0) + 1;
            if self.counter > self.upscale_delay {
                self.counter = 0;
                return wanted;
            }
        } else if wanted < target {
            self.counter = self.counter.min(0) - 1;
            if self.counter < -self.downscale_delay {
                self.counter = 0;
                return wanted;
            }
        } else {
            self.counter = 0;
        }
        target
    }
}

impl Autoscaler for RayServe {
    fn timing(&self) -> Timing {
        Timing {
            period: PERIOD,
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let target = (self.target).unwrap_or(observed.serving + observed.booting);
        self.target = Some(target);
        if now >= self.next_report {
            self.next_report = now + REPORTS;
            self.ongoing = observed.sample.and_then(|sample| {
                self.history.push(sample);
                let means = self.history.means(LOOK_BACK)?;
                Some(means.in_flight + means.waiting)
            });
        }
        let Some(ongoing) = self.ongoing else {
            return Orders::Size(target);
        };
        let next = self.next(target, ongoing);
        self.target = Some(next);
        Orders::Size(next)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Capacity, Rival};
    use super::*;

    const CAPACITY: Capacity = Capacity {
        slots: 4.0,
        per_s: 2.0,
        min: 1,
        max: 100,
    };

    /// The target after so many ticks with so many requests ongoing, from this target on.
    fn ticks(ray: &mut RayServe, target: u32, ongoing: f64, count: usize) -> u32 {
        (0..count).fold(target, |target, _| ray.next(target, ongoing))
    }

    #[test]
    fn delays_are_counted_in_ticks_and_one_more() {
        let mut ray = RayServe::new(CAPACITY, Rival::RayServe.defaults());
        assert_eq!(ticks(&mut ray, 10, 56.0, 300), 10, "30 s");
        assert_eq!(ticks(&mut ray, 10, 56.0, 1), 20, "56 / 2.8");
        assert_eq!(ticks(&mut ray, 20, 14.0, 6000), 20, "600 s");
        assert_eq!(ticks(&mut ray, 20, 14.0, 1), 5, "14 / 2.8");
    }

    #[test]
    fn one_tick_in_between_starts_the_count_again_and_the_last_number_counts() {
        let mut ray = RayServe::new(CAPACITY, Rival::RayServe.defaults());
        ticks(&mut ray, 10, 56.0, 300);
        ticks(&mut ray, 10, 28.0, 1);
        assert_eq!(ticks(&mut ray, 10, 84.0, 300), 10);
        assert_eq!(
            ticks(&mut ray, 10, 41.0, 1),
            15,
            "the 30 wanted before are forgotten"
        );
    }
}
