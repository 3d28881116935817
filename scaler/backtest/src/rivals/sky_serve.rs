//! SkyServe's RequestRateAutoscaler.
//!
//! Source: skypilot sky/serve/autoscalers.py. Changes need an uninterrupted run of ticks that
//! want them.

use std::time::Duration;

use tidegate_queue::Moment;

use super::history::History;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Timing};

/// `downscale_delay_seconds`.
pub(super) const DOWNSCALE_DELAY: Duration = Duration::from_secs(1200);

/// `upscale_delay_seconds` over `downscale_delay_seconds` at their defaults, 300 s and 1200 s.
const UPSCALE_SHARE: f64 = 0.25;

/// Decision interval; the load balancer hands its request times over as often.
const PERIOD: Duration = Duration::from_secs(20);

/// `qps_window_size`.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct SkyServe {
    capacity: Capacity,
    /// `target_qps_per_replica`.
    target_per_s: f64,
    /// In ticks.
    upscale_after: u32,
    downscale_after: u32,
    history: History,
    ups: u32,
    downs: u32,
    target: Option<u32>,
}

impl SkyServe {
    pub fn new(capacity: Capacity, setting: Setting) -> SkyServe {
        let ticks = |delay: Duration| delay.div_duration_f64(PERIOD) as u32;
        SkyServe {
            capacity,
            target_per_s: setting.target * capacity.per_s,
            upscale_after: ticks(setting.window.mul_f64(UPSCALE_SHARE)),
            downscale_after: ticks(setting.window),
            history: History::new(WINDOW),
            ups: 0,
            downs: 0,
            target: None,
        }
    }

    fn next(&mut self, target: u32, per_s: f64) -> u32 {
        let wanted = (per_s / self.target_per_s).ceil() as u32;
        let wanted = self.capacity.clamp(wanted);
        self.ups = if wanted > target { self.ups + 1 } else { 0 };
        self.downs = if wanted < target { self.downs + 1 } else { 0 };
        let due = (wanted > target && self.ups >= self.upscale_after)
            || (wanted < target && self.downs >= self.downscale_after);
        if !due {
            return target;
        }
        (self.ups, self.downs) = (0, 0);
        wanted
    }
}

impl Autoscaler for SkyServe {
    fn timing(&self) -> Timing {
        Timing {
            period: PERIOD,
            lag: PERIOD,
        }
    }

    fn tick(&mut self, _now: Moment, observed: &Observed<'_>) -> Orders {
        let target = (self.target).unwrap_or(observed.serving + observed.booting);
        let per_s = observed.sample.and_then(|sample| {
            self.history.push(sample);
            Some(self.history.means(WINDOW)?.arrivals_per_s)
        });
        let next = per_s.map_or(target, |per_s| self.next(target, per_s));
        self.target = Some(next);
        Orders::Size(next)
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
    fn fifteen_ticks_up_and_sixty_down_without_interruption() {
        let mut sky = SkyServe::new(CAPACITY, Rival::SkyServe.defaults());
        let mut feed = Feed::default();
        // 28 a second at 1.4 a replica.
        let up = feed.workers(10, 0).per_s(28.0).repeat(20, 15, &mut sky);
        assert!(up[..14].iter().all(|answer| *answer == Some(10)));
        assert_eq!(up[14], Some(20));
        let down = feed.workers(20, 0).per_s(14.0).repeat(20, 62, &mut sky);
        // The first two windows still hold the higher rate, and want fewer all the same.
        assert!(down[..59].iter().all(|answer| *answer == Some(20)));
        assert_eq!(down[59], Some(10));
    }

    #[test]
    fn one_tick_in_between_starts_the_count_again() {
        let mut sky = SkyServe::new(CAPACITY, Rival::SkyServe.defaults());
        (0..14).for_each(|_| assert_eq!(sky.next(10, 28.0), 10));
        assert_eq!(sky.next(10, 14.0), 10);
        (0..14).for_each(|_| assert_eq!(sky.next(10, 28.0), 10));
        assert_eq!(sky.next(10, 28.0), 20);
    }
}
