//! How fast the fleet follows what is asked for: stabilisation windows and step limits.
//!
//! The arithmetic is that of Kubernetes' HorizontalPodAutoscaler v2 with `behavior` set: every
//! tick's need is remembered, the fleet grows to the least and shrinks to the most that
//! was needed over the direction's window, and each step counts the changes within its period.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Time;
use crate::policy::{Growth, Pace, Select};

/// What was needed and what was changed, as far back as the policy looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    needs: VecDeque<(Time, u32)>,
    added: VecDeque<(Time, u32)>,
    removed: VecDeque<(Time, u32)>,
}

impl History {
    pub fn need(&mut self, now: Time, workers: u32) {
        self.needs.push_back((now, workers));
    }

    pub fn added(&mut self, now: Time, workers: u32) {
        self.added.push_back((now, workers));
    }

    pub fn removed(&mut self, now: Time, workers: u32) {
        self.removed.push_back((now, workers));
    }

    pub fn set_changes(&mut self, changes: impl Iterator<Item = (Time, u32, u32)>) {
        self.added.clear();
        self.removed.clear();
        for (at, added, removed) in changes {
            for (series, workers) in [(&mut self.added, added), (&mut self.removed, removed)] {
                if workers > 0 {
                    series.push_back((at, workers));
                }
            }
        }
    }

    pub fn forget_before(&mut self, oldest: Time) {
        for series in [&mut self.needs, &mut self.added, &mut self.removed] {
            while series.front().is_some_and(|(at, _)| *at < oldest) {
                series.pop_front();
            }
        }
    }

    /// The least and the most that was needed over the windows of the two directions.
    pub fn needs(&self, now: Time, out: &Pace, down: &Pace) -> (Option<u32>, Option<u32>) {
        let over = |window: Duration| {
            let needs = self.needs.iter().rev();
            needs
                .take_while(move |(at, _)| now.since(*at) <= window)
                .map(|(_, workers)| *workers)
        };
        (
            over(out.stabilization).min(),
            over(down.stabilization).max(),
        )
    }

    /// The largest fleet that `pace` lets `workers` grow to.
    pub fn most(&self, now: Time, workers: u32, pace: &Pace) -> u32 {
        let allowed = pace.limits.iter().map(|limit| {
            let base = self.base(now, workers, limit.per);
            let by = match limit.growth {
                Growth::Workers(count) => count,
                // A fleet of none can grow by percent too.
                Growth::Percent(percent) => share(base, percent).ceil().max(1.0) as u32,
            };
            base.saturating_add(by)
        });
        let most = match pace.select {
            Select::Max => allowed.max(),
            Select::Min => allowed.min(),
            Select::Disabled => Some(workers),
        };
        most.unwrap_or(u32::MAX).max(workers)
    }

    /// The smallest fleet that `pace` lets `workers` shrink to.
    pub fn least(&self, now: Time, workers: u32, pace: &Pace) -> u32 {
        let allowed = pace.limits.iter().map(|limit| {
            let base = self.base(now, workers, limit.per);
            let by = match limit.growth {
                Growth::Workers(count) => count,
                Growth::Percent(percent) => share(base, percent).ceil() as u32,
            };
            base.saturating_sub(by)
        });
        let least = match pace.select {
            Select::Max => allowed.min(),
            Select::Min => allowed.max(),
            Select::Disabled => Some(workers),
        };
        least.unwrap_or(0).min(workers)
    }

    /// The fleet's size when the period before `now` began, as far as the law changed it.
    fn base(&self, now: Time, workers: u32, per: Duration) -> u32 {
        let within = |series: &VecDeque<(Time, u32)>| -> u32 {
            let recent = series.iter().filter(|(at, _)| now.since(*at) < per);
            recent.map(|(_, workers)| workers).sum()
        };
        (workers + within(&self.removed)).saturating_sub(within(&self.added))
    }
}

fn share(workers: u32, percent: u32) -> f64 {
    f64::from(workers) * f64::from(percent) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Behaviour;

    fn pace(text: &str) -> Pace {
        let behaviour: Behaviour = toml::from_str(text).expect("a valid behaviour");
        behaviour.over(Pace::in_default())
    }

    fn at(seconds: u64) -> Time {
        Time::from_ms(seconds * 1000)
    }

    #[test]
    fn growth_is_limited_by_the_larger_step_and_by_what_was_added_in_its_period() {
        let pace = pace("steps = [{workers = 4, per = '15s'}, {percent = 100, per = '15s'}]");
        let mut history = History::default();
        assert_eq!(history.most(at(0), 0, &pace), 4);
        assert_eq!(history.most(at(0), 3, &pace), 7);
        assert_eq!(history.most(at(0), 10, &pace), 20);
        history.added(at(0), 10);
        assert_eq!(history.most(at(14), 20, &pace), 20);
        assert_eq!(history.most(at(15), 20, &pace), 40);
    }

    #[test]
    fn a_fleet_of_none_grows_by_percent_too() {
        let pace = pace("steps = [{percent = 50, per = '15s'}]");
        assert_eq!(History::default().most(at(0), 0, &pace), 1);
    }

    #[test]
    fn shrinking_counts_what_was_removed_in_the_period() {
        let pace = pace("steps = [{workers = 1, per = '60s'}, {percent = 10, per = '60s'}]");
        let mut history = History::default();
        assert_eq!(history.least(at(0), 5, &pace), 4);
        assert_eq!(history.least(at(0), 100, &pace), 90);
        history.removed(at(0), 10);
        assert_eq!(history.least(at(30), 90, &pace), 90);
        assert_eq!(history.least(at(60), 90, &pace), 81);
    }

    #[test]
    fn the_smaller_step_counts_when_asked_for_and_none_when_disabled() {
        let small = pace(
            "steps = [{workers = 1, per = '60s'}, {percent = 50, per = '60s'}]\nselect = 'min'",
        );
        assert_eq!(History::default().least(at(0), 10, &small), 9);
        let disabled = pace("select = 'disabled'");
        assert_eq!(History::default().least(at(0), 10, &disabled), 10);
        assert_eq!(History::default().least(at(0), 10, &pace("")), 0);
    }

    #[test]
    fn windows_keep_the_least_and_the_most() {
        let (out, down) = (pace("stabilization = '10s'"), pace("stabilization = '30s'"));
        let mut history = History::default();
        for (second, need) in [(0, 9), (20, 4), (25, 6), (30, 5)] {
            history.need(at(second), need);
        }
        assert_eq!(history.needs(at(30), &out, &down), (Some(4), Some(9)));
        history.forget_before(at(1));
        assert_eq!(history.needs(at(31), &out, &down), (Some(5), Some(6)));
    }
}
