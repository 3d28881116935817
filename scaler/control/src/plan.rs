//! A tick's decision while it is made: what to do, and what limited it.

use crate::decision::{Action, Ask, Decision, Guard, Reason};
use crate::supply::Supply;
use crate::{Observation, Time};

/// A tick's decision in the making.
pub(crate) struct Plan<'a> {
    pub now: Time,
    pub supply: &'a Supply<'a>,
    pub launches_held_until: Option<Time>,
    pub scale_in_held: Option<String>,
    pub action: Action,
    pub guards: Vec<Guard>,
}

impl Plan<'_> {
    /// Names what held this tick back, once.
    pub fn guard(&mut self, guard: Guard) {
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
    }

    /// Takes draining workers back before it launches new ones. Those that are in doubt are not
    /// counted on, but are there, so they take their part of `max`.
    pub fn grow(&mut self, by: u32, max: u32) {
        let draining = self.supply.draining.iter().take(by as usize);
        self.action.undrain = draining.map(|(id, _)| (*id).to_owned()).collect();
        let room = max.saturating_sub(self.supply.present());
        let wanted = by - self.action.undrain.len() as u32;
        let rest = room.min(wanted);
        if rest < wanted {
            self.guard(Guard::Max { max });
        }
        match self.launches_held_until.filter(|until| self.now < *until) {
            Some(until) if rest > 0 => {
                let for_ms = until.since(self.now).as_millis() as u64;
                self.guard(Guard::LaunchesHeld { until, for_ms });
            }
            _ => self.action.launch = rest,
        }
    }

    pub fn shrink(&mut self, by: u32, seen: &Observation) {
        self.action.drain = self.supply.victims(by, seen);
    }

    pub fn decide(self, need: u32, asks: Vec<Ask>, winner: Option<usize>) -> Decision {
        let from = self.supply.counted();
        let added = self.action.launch + self.action.undrain.len() as u32;
        Decision {
            need,
            reason: Reason {
                from,
                to: (from + added).saturating_sub(self.action.drain.len() as u32),
                asks,
                winner,
                guards: self.guards,
            },
            action: self.action,
            cost_per_hour: None,
        }
    }
}
