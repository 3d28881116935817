//! Calls that change a group in memory, refused as AWS refuses them.

use super::machine::Machine;
use super::world::World;
use crate::fleet::asg::group::{GroupError, State, Then};

impl World {
    pub fn set_desired(&mut self, desired: u32) -> Result<(), GroupError> {
        let (min, max) = (self.shape.min, self.shape.max);
        if desired < min || desired > max {
            let why = format!("New SetDesiredCapacity value {desired} is not in {min} to {max}");
            return Err(invalid("SetDesiredCapacity", why));
        }
        self.shape.desired = desired;
        self.step();
        Ok(())
    }

    pub fn terminate(&mut self, id: &str, then: Then) -> Result<(), GroupError> {
        let call = "TerminateInstanceInAutoScalingGroup";
        let stays = self.machines.get(id).map(Machine::stays);
        match stays {
            None => return Err(invalid(call, format!("Instance Id not found - {id}"))),
            Some(false) => {
                let why = format!("{id} is terminating");
                return Err(GroupError::Busy { call, why });
            }
            Some(true) => {}
        }
        if then == Then::Shrink {
            let (desired, min) = (self.shape.desired, self.shape.min);
            if desired <= min {
                let why = format!("Terminating {id} would violate the minimum of {min}");
                return Err(invalid(call, why));
            }
            self.shape.desired = desired - 1;
        }
        self.end(id);
        self.step();
        Ok(())
    }

    pub fn protect(&mut self, ids: &[String]) -> Result<(), GroupError> {
        for id in ids {
            let machine = self.machines.get_mut(id);
            match machine.filter(|machine| machine.instance.state == State::InService) {
                Some(machine) => machine.instance.protected = true,
                None => {
                    let why = format!("The instance {id} is not in InService");
                    return Err(invalid("SetInstanceProtection", why));
                }
            }
        }
        Ok(())
    }

    pub fn go_on(&mut self, hook: &str, id: &str) -> Result<(), GroupError> {
        let call = "CompleteLifecycleAction";
        match self.waits_for(hook, id) {
            Some(State::PendingWait) => self.enter_service(id),
            Some(State::WarmWait) => {
                if let Some(machine) = self.machines.get_mut(id) {
                    machine.enter(State::Warm, None);
                }
            }
            Some(State::WarmLeavingWait) => drop(self.machines.remove(id)),
            Some(_) => self.leave(id),
            None => {
                return Err(invalid(
                    call,
                    format!("No active Lifecycle Action for {id}"),
                ));
            }
        }
        Ok(())
    }

    pub fn wait_on(&mut self, hook: &str, id: &str) -> Result<(), GroupError> {
        let Some(state) = self.waits_for(hook, id) else {
            let call = "RecordLifecycleActionHeartbeat";
            return Err(invalid(
                call,
                format!("No active Lifecycle Action for {id}"),
            ));
        };
        let hook = match state {
            State::PendingWait | State::WarmWait => &self.shape.launch_hook,
            _ => &self.shape.terminate_hook,
        };
        let timeout = hook.as_ref().map(|(_, timeout)| *timeout);
        let until = timeout.map(|timeout| self.now + timeout);
        if let Some(machine) = self.machines.get_mut(id) {
            machine.until = until;
        }
        Ok(())
    }

    /// The state in which the instance waits for this hook.
    fn waits_for(&self, hook: &str, id: &str) -> Option<State> {
        let state = self.machines.get(id)?.instance.state;
        let awaited = match state {
            State::PendingWait | State::WarmWait => &self.shape.launch_hook,
            State::LeavingWait | State::WarmLeavingWait => &self.shape.terminate_hook,
            _ => return None,
        };
        let is_it = awaited.as_ref().is_some_and(|(name, _)| name == hook);
        is_it.then_some(state)
    }
}

fn invalid(call: &'static str, why: String) -> GroupError {
    GroupError::Refused {
        call,
        code: "ValidationError".to_owned(),
        why,
    }
}
