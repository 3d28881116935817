//! How a group in memory launches: one type and zone after the other, until one is to be had.

use std::time::Duration;

use super::machine::Machine;
use super::world::World;
use crate::fleet::asg::group::{Failure, Instance, State};

/// A launch that failed is tried again after this.
const RETRY: Duration = Duration::from_secs(20);

/// From the launch to the launch hook.
const ENTERS_WITHIN: (f64, f64) = (2.0, 15.0);

/// Failed launches that are remembered.
const FAILURES: usize = 20;

impl World {
    pub(super) fn launch_what_is_missing(&mut self) {
        let here = self.machines.values().filter(|machine| machine.stays());
        let missing = self.shape.desired.saturating_sub(here.count() as u32);
        if missing == 0 || self.now < self.retry_at {
            return;
        }
        for _ in 0..missing {
            if !self.launch() {
                self.retry_at = self.now + RETRY;
                return;
            }
        }
    }

    /// Out of the pool, or else anew. Whether one was to be had.
    fn launch(&mut self) -> bool {
        (self.shape.warm > 0 && self.wake_one()) || self.launch_new().is_some()
    }

    /// Tries every type in every zone. Returns the instance, if one was to be had.
    pub(super) fn launch_new(&mut self) -> Option<String> {
        let turn = self.launched as usize;
        let (kinds, zones) = (self.shape.kinds.len(), self.shape.zones.len());
        for index in 0..kinds * zones {
            let kind = self.shape.kinds[index / zones].clone();
            let zone = self.shape.zones[(index + turn) % zones].clone();
            if self.faults.short.contains(&(kind.clone(), zone.clone())) {
                self.fail_for_want_of(&kind, &zone);
                continue;
            }
            self.launched += 1;
            let id = format!("i-{:08x}", self.launched);
            let machine = self.machine(&id, kind, zone);
            self.machines.insert(id.clone(), machine);
            return Some(id);
        }
        None
    }

    fn machine(&mut self, id: &str, kind: String, zone: String) -> Machine {
        let (least, median, most) = self.shape.boot_s;
        // Log-normal around the median, with a tail up to the most.
        let boot = (median * (0.35 * self.chance.normal()).exp()).clamp(least, most);
        let answers = self.chance.between(0.0, 1.0) >= self.faults.stillborn;
        let from = self.now + Duration::from_secs_f64(boot);
        Machine {
            instance: Instance {
                id: id.to_owned(),
                kind,
                zone,
                state: State::Pending,
                healthy: true,
                protected: false,
            },
            launched: self.now,
            answers_from: answers.then_some(from),
            until: Some(self.later(ENTERS_WITHIN)),
            noticed_broken_at: None,
            is_old: false,
        }
    }

    fn fail_for_want_of(&mut self, kind: &str, zone: &str) {
        let message = format!(
            "We currently do not have sufficient {kind} capacity in the Availability Zone you \
             requested ({zone}). Our system will be working on provisioning additional capacity. \
             Launching EC2 instance failed."
        );
        let id = format!("activity-{}-{zone}", self.now.as_ms());
        let failure = Failure {
            id,
            message,
            zone: Some(zone.to_owned()),
            age_ms: 0,
        };
        self.failures.push_back((self.now, failure));
        if self.failures.len() > FAILURES {
            self.failures.pop_front();
        }
    }
}
