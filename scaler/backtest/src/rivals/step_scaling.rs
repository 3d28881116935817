//! EC2 Auto Scaling step scaling on the share of slots that are busy.
//!
//! Source: the EC2 Auto Scaling user guide. The steps are those of its example: 10, 20 and 30 %
//! more from 0, 10 and 20 points above the threshold, 10 and 30 % fewer from 10 and 20 points
//! below. Alarms are the user's; here both want 2 of 2 minutes.

use tidegate_queue::Moment;

use super::alarm::{self, Points};
use super::history::History;
use super::warm_up::WarmUp;
use super::{Capacity, Setting};
use crate::sim::{Autoscaler, Observed, Orders, Timing};

const POINTS: usize = 2;

/// How far below the threshold the low alarm is set.
const GAP: f64 = 0.1;

#[derive(Clone, Debug)]
pub(super) struct StepScaling {
    capacity: Capacity,
    /// Share of slots busy.
    threshold: f64,
    history: History,
    points: Points,
    warm_up: WarmUp,
    desired: Option<u32>,
}

impl StepScaling {
    pub fn new(capacity: Capacity, setting: Setting) -> StepScaling {
        StepScaling {
            capacity,
            threshold: setting.target,
            history: History::new(alarm::PERIOD),
            points: Points::default(),
            warm_up: WarmUp::new(setting.window),
            desired: None,
        }
    }

    /// Instances that warm up count as added already, and nothing shrinks while any does.
    fn next(&self, desired: u32, warm: u32, all_warm: bool, utilization: f64) -> u32 {
        let percent = step_percent((utilization - self.threshold) * 100.0);
        if self.points.all_at_least(POINTS, self.threshold) {
            return desired.max(adjusted(warm, percent));
        }
        let low = self.points.all_at_most(POINTS, self.threshold - GAP);
        match low && all_warm {
            true => adjusted(desired, percent).min(desired),
            false => desired,
        }
    }
}

/// The step of a breach, in percent of the group; both in points of utilization.
fn step_percent(breach: f64) -> f64 {
    match breach {
        b if b >= 20.0 => 30.0,
        b if b >= 10.0 => 20.0,
        b if b >= 0.0 => 10.0,
        b if b > -10.0 => 0.0,
        b if b > -20.0 => -10.0,
        _ => -30.0,
    }
}

/// PercentChangeInCapacity: beyond one it is cut off towards zero, below one it is one.
fn adjusted(count: u32, percent: f64) -> u32 {
    let change = f64::from(count) * percent / 100.0;
    let whole = match change.abs() {
        0.0 => 0.0,
        small if small < 1.0 => change.signum(),
        _ => change.trunc(),
    };
    count.saturating_add_signed(whole as i32)
}

impl Autoscaler for StepScaling {
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

    #[test]
    fn percentages_are_cut_off_towards_zero_and_small_ones_are_one() {
        for (count, percent, expected) in [
            (10, 10.0, 11),
            (25, 10.0, 27),
            (4, 10.0, 5),
            (25, -30.0, 18),
            (2, -30.0, 1),
            (7, 0.0, 7),
        ] {
            assert_eq!(adjusted(count, percent), expected, "{count} by {percent} %");
        }
    }

    #[test]
    fn steps_by_hand() {
        let mut steps = StepScaling::new(CAPACITY, Rival::AwsStepScaling.defaults());
        let mut feed = Feed::default();
        // 34 of 40 slots: 15 points above, 20 % more.
        feed.workers(10, 0).in_flight(34.0);
        assert_eq!(feed.repeat(60, 2, &mut steps), [Some(10), Some(12)]);
        // 95 %: 25 points above, 30 % of the 10 warm ones; of 12 there is one more to add.
        feed.workers(12, 0).in_flight(45.6);
        assert_eq!(feed.after(60).ask(&mut steps), Some(13));
        // 25 % busy: but the last two warm up for 300 s.
        feed.workers(12, 0).in_flight(12.0);
        let answers = feed.repeat(60, 5, &mut steps);
        assert!(answers[..4].iter().all(|answer| *answer == Some(13)));
        assert_eq!(answers[4], Some(10), "30 % of 13 is 3.9");
    }
}
