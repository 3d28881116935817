//! The warm pool of a group in memory, and standby.
//!
//! An instance for the pool boots, waits for the launch hook, and sleeps. A launch takes a sleeper
//! before it takes anything new; the launch hook then waits for it once more.

use super::machine::Machine;
use super::world::World;
use crate::fleet::asg::group::State;

/// From a sleeper's call to the launch hook, and from there to its worker's answer.
const WAKES_WITHIN: (f64, f64) = (2.0, 5.0);

/// Until an instance for the pool comes to its launch hook, or sleeps.
const PREPARED_WITHIN: (f64, f64) = (30.0, 60.0);

impl World {
    /// An instance in service is taken aside, and the group wants one less.
    pub fn stand_by(&mut self, id: &str) {
        let machine = self.machines.get_mut(id);
        if let Some(machine) = machine.filter(|m| m.instance.state == State::InService) {
            machine.enter(State::Standby, None);
            self.shape.desired = self.shape.desired.saturating_sub(1);
        }
    }

    /// It comes back, and the group wants one more.
    pub fn return_from_standby(&mut self, id: &str) {
        let until = Some(self.later(WAKES_WITHIN));
        let machine = self.machines.get_mut(id);
        if let Some(machine) = machine.filter(|m| m.instance.state == State::Standby) {
            machine.enter(State::Pending, until);
            self.shape.desired += 1;
        }
    }

    /// One that sleeps is to leave the pool, and waits for its termination hook. Returns which.
    pub fn put_out_of_the_pool(&mut self) -> Option<String> {
        let mut sleepers = self.machines.values_mut();
        let sleeper = sleepers.find(|machine| machine.instance.state == State::Warm)?;
        sleeper.enter(State::WarmLeavingWait, None);
        Some(sleeper.instance.id.clone())
    }

    pub(super) fn pool(&self) -> impl Iterator<Item = &Machine> {
        self.machines
            .values()
            .filter(|machine| machine.is_in_pool())
    }

    pub(super) fn fill_the_pool(&mut self) {
        let missing = (self.shape.warm as usize).saturating_sub(self.pool().count());
        for _ in 0..missing {
            let Some(id) = self.launch_new() else {
                return;
            };
            let until = Some(self.later(PREPARED_WITHIN));
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.enter(State::Warm, until);
            }
        }
    }

    /// It has booted: it waits for the hook if there is one, or sleeps.
    pub(super) fn prepare(&mut self, id: &str) {
        let hook = self.shape.launch_hook.as_ref();
        let (now, timeout) = (self.now, hook.map(|(_, timeout)| *timeout));
        if let Some(machine) = self.machines.get_mut(id) {
            match timeout {
                Some(timeout) => machine.enter(State::WarmWait, Some(now + timeout)),
                None => machine.enter(State::Warm, None),
            }
        }
    }

    /// Whether one slept and is on its way now.
    pub(super) fn wake_one(&mut self) -> bool {
        let (until, answers) = (self.later(WAKES_WITHIN), self.later(WAKES_WITHIN));
        let mut machines = self.machines.values_mut();
        let sleeps = |m: &&mut Machine| m.instance.state == State::Warm && m.until.is_none();
        match machines.find(sleeps) {
            Some(machine) => {
                machine.enter(State::Pending, Some(until));
                machine.answers_from = machine.answers_from.map(|_| answers);
                true
            }
            None => false,
        }
    }
}
