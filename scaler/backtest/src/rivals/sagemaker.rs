//! SageMaker target tracking on invocations per instance and minute.
//!
//! Source: the Application Auto Scaling and SageMaker guides. The metric is
//! SageMakerVariantInvocationsPerInstance; alarms are those of target tracking, and cooldowns
//! stand in for warm-up: while one from growing lasts only a larger capacity is taken, and growing
//! ends one from shrinking.

use std::time::Duration;

use tidegate_queue::Moment;

use super::alarm::{self, HIGH_POINTS, LOW_POINTS, LOW_SHARE, Points};
use super::history::History;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Timing};

/// ScaleOutCooldown and ScaleInCooldown.
pub(super) const COOLDOWN: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub(super) struct SageMaker {
    capacity: Capacity,
    /// Invocations per instance and minute.
    target: f64,
    cooldown: Duration,
    history: History,
    points: Points,
    no_shrink_before: Moment,
    desired: Option<u32>,
}

impl SageMaker {
    pub fn new(capacity: Capacity, setting: Setting) -> SageMaker {
        SageMaker {
            capacity,
            target: setting.target * capacity.per_s * 60.0,
            cooldown: setting.window,
            history: History::new(alarm::PERIOD),
            points: Points::default(),
            no_shrink_before: Moment::ZERO,
            desired: None,
        }
    }

    /// The ratio is of the instances in service, so what boots is not added a second time.
    fn next(&mut self, now: Moment, desired: u32, serving: u32, invocations: f64) -> u32 {
        let proposal = (f64::from(serving) * invocations / self.target).ceil() as u32;
        if self.points.all_above(HIGH_POINTS, self.target) {
            if proposal > desired {
                self.no_shrink_before = Moment::ZERO;
            }
            return proposal.max(desired);
        }
        let low = self.points.all_below(LOW_POINTS, self.target * LOW_SHARE);
        if low && now >= self.no_shrink_before && proposal < desired {
            self.no_shrink_before = now + self.cooldown;
            return proposal;
        }
        desired
    }
}

impl Autoscaler for SageMaker {
    fn timing(&self) -> Timing {
        Timing {
            period: alarm::PERIOD,
            lag: alarm::PUBLICATION,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let desired = (self.desired).unwrap_or(observed.serving + observed.booting);
        let invocations = observed.sample.and_then(|sample| {
            self.history.push(sample);
            let means = self.history.means(alarm::PERIOD)?;
            (means.serving > 0.0).then(|| means.arrivals_per_s * 60.0 / means.serving)
        });
        let next = match invocations {
            Some(invocations) => {
                self.points.push(invocations);
                self.next(now, desired, observed.serving, invocations)
            }
            None => {
                self.points.missing();
                desired
            }
        };
        let next = self.capacity.clamp(next);
        self.desired = Some(next);
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
    fn grows_after_three_minutes_and_not_twice_for_what_boots() {
        let mut sagemaker = SageMaker::new(CAPACITY, Rival::SageMaker.defaults());
        let mut feed = Feed::default();
        // 20 a second over 10 instances: 120 a minute each, target 84.
        feed.workers(10, 0).per_s(20.0);
        let answers = feed.repeat(60, 3, &mut sagemaker);
        assert_eq!(answers, [Some(10), Some(10), Some(15)]);
        assert_eq!(feed.workers(10, 5).after(60).ask(&mut sagemaker), Some(15));
    }

    #[test]
    fn shrinks_after_fifteen_minutes_and_then_once_a_cooldown() {
        let mut sagemaker = SageMaker::new(CAPACITY, Rival::SageMaker.defaults());
        let mut feed = Feed::default();
        let first = feed
            .workers(20, 0)
            .per_s(14.0)
            .repeat(60, 15, &mut sagemaker);
        assert!(first[..14].iter().all(|answer| *answer == Some(20)));
        assert_eq!(first[14], Some(10), "42 a minute of 84");
        feed.workers(10, 0).per_s(7.0);
        let second = feed.repeat(60, 5, &mut sagemaker);
        assert!(second[..4].iter().all(|answer| *answer == Some(10)));
        assert_eq!(second[4], Some(5), "300 s later");
    }
}
