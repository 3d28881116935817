//! EC2 Auto Scaling target tracking on the share of slots that are busy.
//!
//! Source: the EC2 Auto Scaling user guide, and the alarms that a policy is seen to make: high
//! when 3 of 3 minutes are above the target, low when 15 of 15 are more than a tenth below.
//! Left open by the guide, and decided here: a group of fewer than ten shrinks by one at a time, a
//! larger one to what the ratio says; the metric of the warmed instances is taken to be that of
//! all in service.

use tidegate_queue::Moment;

use super::alarm::{self, HIGH_POINTS, LOW_POINTS, LOW_SHARE, Points};
use super::history::History;
use super::warm_up::WarmUp;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Timing};

/// A group smaller than this shrinks by one.
const SMALL_GROUP: u32 = 10;

#[derive(Clone, Debug)]
pub(super) struct TargetTracking {
    capacity: Capacity,
    /// Share of slots busy.
    target: f64,
    history: History,
    points: Points,
    warm_up: WarmUp,
    desired: Option<u32>,
}

impl TargetTracking {
    pub fn new(capacity: Capacity, setting: Setting) -> TargetTracking {
        TargetTracking {
            capacity,
            target: setting.target,
            history: History::new(alarm::PERIOD),
            points: Points::default(),
            warm_up: WarmUp::new(setting.window),
            desired: None,
        }
    }

    fn next(&self, desired: u32, warm: u32, all_warm: bool, utilization: f64) -> u32 {
        let ratio = utilization / self.target;
        if self.points.all_above(HIGH_POINTS, self.target) {
            return desired.max((f64::from(warm) * ratio).ceil() as u32);
        }
        if !all_warm || !self.points.all_below(LOW_POINTS, self.target * LOW_SHARE) {
            return desired;
        }
        let proposal = (f64::from(desired) * ratio).ceil() as u32;
        match desired < SMALL_GROUP {
            true => proposal.max(desired.saturating_sub(1)),
            false => proposal,
        }
    }
}

impl Autoscaler for TargetTracking {
    fn timing(&self) -> Timing {
        Timing {
            period: alarm::PERIOD,
            lag: alarm::PUBLICATION,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let desired = (self.desired).unwrap_or(observed.serving + observed.booting);
        let warm = self.warm_up.warm(now, observed.serving);
        let all_warm = observed.booting == 0 && warm == observed.serving;
        let utilization = observed.sample.and_then(|sample| {
            self.history.push(sample);
            let means = self.history.means(alarm::PERIOD)?;
            (means.serving > 0.0).then(|| means.in_flight / (means.serving * self.capacity.slots))
        });
        let next = match utilization {
            Some(utilization) => {
                self.points.push(utilization);
                self.next(desired, warm, all_warm, utilization)
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

    fn tracking() -> TargetTracking {
        TargetTracking::new(CAPACITY, Rival::AwsTargetTracking.defaults())
    }

    #[test]
    fn three_minutes_up_and_then_by_the_warm_instances_alone() {
        let (mut tracking, mut feed) = (tracking(), Feed::default());
        feed.workers(10, 0).in_flight(36.0);
        let answers = feed.repeat(60, 3, &mut tracking);
        // 36 of 40 slots: 0.9 / 0.7 of 10.
        assert_eq!(answers, [Some(10), Some(10), Some(13)]);
        // Three more serve and are not warm: still 10 * 0.9 / 0.7, no more.
        feed.workers(13, 0).in_flight(46.8);
        let warming = feed.repeat(60, 5, &mut tracking);
        assert!(warming.iter().all(|answer| *answer == Some(13)));
        assert_eq!(
            feed.after(60).ask(&mut tracking),
            Some(17),
            "13 * 0.9 / 0.7"
        );
    }

    #[test]
    fn fifteen_minutes_down_and_a_small_group_by_one() {
        let (mut tracking, mut feed) = (tracking(), Feed::default());
        let answers = feed
            .workers(20, 0)
            .in_flight(28.0)
            .repeat(60, 15, &mut tracking);
        assert!(answers[..14].iter().all(|answer| *answer == Some(20)));
        assert_eq!(answers[14], Some(10), "0.35 / 0.7 of 20");
        let (mut tracking, mut feed) = (self::tracking(), Feed::default());
        let answers = feed
            .workers(8, 0)
            .in_flight(8.0)
            .repeat(60, 16, &mut tracking);
        assert_eq!(answers[13..], [Some(8), Some(7), Some(6)]);
    }

    #[test]
    fn a_missing_minute_starts_the_count_again() {
        let (mut tracking, mut feed) = (tracking(), Feed::default());
        feed.workers(10, 0)
            .in_flight(36.0)
            .repeat(60, 2, &mut tracking);
        let blind = Observed::new(None, 10, 0);
        assert_eq!(
            tracking.tick(Moment::from_secs(180), &blind),
            Orders::Size(10)
        );
        feed.after(60).sample();
        let answers = feed.repeat(60, 3, &mut tracking);
        assert_eq!(answers, [Some(10), Some(10), Some(13)]);
    }
}
