//! What can go wrong, and how often it does in an hour.

use std::time::Duration;

use tidegate_scaler::fleet::asg::fake::Faults;
use tidegate_scaler::lease::CallOutcome;

use super::{CHAOS_S, Run, TIMEOUT};
use crate::watched::{LEAST, MOST, lock};

impl Run {
    fn happens(&mut self, per_hour: f64) -> bool {
        self.chance.unit() < per_hour / 3600.0
    }

    /// Which scaler dies at this tick, and how far into it.
    pub fn next_kill(&mut self) -> Option<(usize, Duration)> {
        if self.second() >= CHAOS_S || !self.happens(6.0) {
            return None;
        }
        let index = usize::from(self.chance.unit() < 0.5);
        self.endpoints[index].back_at = self.second() + self.chance.between(5.0, 300.0) as u64;
        Some((
            index,
            Duration::from_millis(self.chance.between(0.0, 1500.0) as u64),
        ))
    }

    pub fn go_wrong(&mut self) {
        if self.happens(12.0) {
            self.per_s = self.chance.between(0.2, 7.0);
        }
        if self.happens(20.0) {
            self.change_the_weather();
        }
        for index in 0..self.endpoints.len() {
            if self.happens(15.0) {
                let fates = [
                    CallOutcome::NotArrived,
                    CallOutcome::ReplyLost,
                    CallOutcome::Answered,
                    CallOutcome::Answered,
                ];
                let outcome = fates[self.chance.next_u64() as usize % fates.len()];
                self.endpoints[index].table.set_outcome(outcome);
            }
            if self.happens(15.0) {
                let (proxy, now) = (usize::from(self.chance.unit() < 0.5), self.second());
                let cut = &mut self.endpoints[index].street.cuts()[proxy];
                *cut = match cut {
                    Some(_) => None,
                    None => Some(now),
                };
            }
        }
        if self.happens(6.0) {
            self.take_one_away();
        }
        // No heartbeat arrives for ten minutes in the mean, while requests are answered as before.
        let is_deaf = lock(&self.world).service.is_deaf;
        if self.happens(if is_deaf { 6.0 } else { 1.0 }) {
            lock(&self.world).service.is_deaf = !is_deaf;
        }
        if self.happens(0.5) {
            self.set_a_clock();
        }
        if self.happens(2.0) {
            let desired = self
                .chance
                .between(f64::from(LEAST), f64::from(MOST))
                .round() as u32;
            let _ = self.group.world().set_desired(desired.min(MOST));
        }
    }

    /// One scaler's machine sees that its clock was slow.
    fn set_a_clock(&mut self) {
        let index = usize::from(self.chance.unit() < 0.5);
        let by = Duration::from_secs_f64(self.chance.between(3.0, 2400.0));
        self.endpoints[index].ahead += by;
    }

    fn change_the_weather(&mut self) {
        let chance = &mut self.chance;
        let mut often = |most: f64| match chance.unit() < 0.5 {
            true => 0.0,
            false => chance.between(0.0, most),
        };
        let faults = Faults {
            lag: Duration::from_secs_f64(often(15.0)),
            delay: Duration::from_secs_f64(often(0.7)),
            timeout: TIMEOUT,
            throttled: often(0.3),
            not_arrived: often(0.2),
            reply_lost: often(0.2),
            stillborn: often(0.2),
            ..Faults::default()
        };
        let is_short = chance.unit() < 0.2;
        // One pool of the two alone, which is no reason to ask for nothing.
        let is_half = chance.unit() < 0.5;
        let mut group = self.group.world();
        group.faults = faults;
        if is_short {
            let zones: &[&str] = match is_half {
                true => &["eu-central-1a"],
                false => &["eu-central-1a", "eu-central-1b"],
            };
            let offerings = zones
                .iter()
                .map(|zone| ("c7i.large".to_owned(), (*zone).to_owned()));
            group.faults.short.extend(offerings);
        }
    }

    /// A spot notice, two minutes ahead, or a machine that breaks.
    fn take_one_away(&mut self) {
        let working = self.group.world().working();
        if working.is_empty() {
            return;
        }
        let id = &working[self.chance.next_u64() as usize % working.len()];
        match self.chance.unit() < 0.7 {
            true => {
                let mut world = lock(&self.world);
                world.service.give_notice(id);
                let at = world.service.now() + 120;
                self.notices.insert(id.clone(), at);
            }
            false => self.group.world().break_down(id),
        }
    }

    pub fn calm_down(&mut self) {
        self.group.world().faults = Faults::default();
        lock(&self.world).service.is_deaf = false;
        for endpoint in &mut self.endpoints {
            endpoint.table.set_outcome(CallOutcome::Answered);
            *endpoint.street.cuts() = Default::default();
        }
        self.per_s = 2.0;
    }
}
