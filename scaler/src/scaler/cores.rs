//! Tells, once, that a fleet gets no more workers because other fleets of this machine have the cores.

use super::notices::Condition;
use super::{Actuator, Scaler};
use crate::event::Event;

impl Scaler {
    /// The law needs so many workers, whatever the bounds.
    pub(super) fn tell_of_cores(&mut self, need: u32) {
        let Actuator::Fleet(fleet) = &self.actuator else {
            return;
        };
        let most = self.bounds.max;
        let max = self.cut.unwrap_or(self.bounds).max;
        let held = fleet.held_by_others().filter(|_| max < most);
        match held {
            Some(why) if need > max => {
                let needed = need.min(most);
                let event = Event::CoresHeld { needed, max, why };
                self.notices.begins(Condition::CoresHeld, event);
            }
            // A need that comes and goes is told of once, until the others have ended workers.
            Some(_) => {}
            None => drop(self.notices.ends(&Condition::CoresHeld)),
        }
    }
}
