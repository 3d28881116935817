//! From the fleet's size to the one that was decided, and what forbids to remove a worker on the way.

use super::{Law, longest_window};
use crate::decision::{Ask, Guard};
use crate::plan::Plan;
use crate::{Health, Observation};

impl Law {
    /// Grows or shrinks towards `to`.
    pub(super) fn approach(&self, plan: &mut Plan, to: u32, asks: &[Ask], seen: &Observation) {
        let (counted, expected) = (plan.supply.counted(), plan.supply.expected());
        if to > expected {
            if expected < counted {
                let workers = counted - expected;
                plan.guard(Guard::Unlikely { workers });
            }
            plan.grow(to - expected, self.policy.fleet.max);
        } else if to < counted {
            // What boots may never come: those that serve must be enough by themselves.
            let spare = (plan.supply.serving.len() as u32).saturating_sub(to);
            if plan.supply.booting > 0 {
                plan.guard(Guard::Booting);
            }
            match self.why_not_shrink(plan, asks) {
                Some(guard) => plan.guard(guard),
                None => plan.shrink(spare.min(counted - to), seen),
            }
        }
    }

    /// What forbids to remove a worker at this tick, if anything does.
    fn why_not_shrink(&self, plan: &Plan, asks: &[Ask]) -> Option<Guard> {
        let now = plan.now;
        match self.window.health() {
            Health::Blind => return Some(Guard::Blind),
            Health::Partial { missing } => {
                let missing = missing.clone();
                return Some(Guard::Partial { missing });
            }
            Health::Complete => {}
        }
        if let Some(guard) = &plan.supply.mass_silence {
            return Some(guard.clone());
        }
        if let Some(why) = plan.scale_in_held.clone() {
            return Some(Guard::FleetHolds { why });
        }
        if let Some(ask) = asks.iter().find(|ask| ask.workers.is_none()) {
            let signal = ask.term.clone();
            return Some(Guard::Missing { signal });
        }
        let watched = now.since(self.watched_since);
        let looks_back = self
            .policy
            .down()
            .longest_period()
            .max(longest_window(&self.policy));
        if let Some(left) = looks_back.checked_sub(watched)
            && !left.is_zero()
        {
            let for_ms = left.as_millis() as u64;
            return Some(Guard::Watching { for_ms });
        }
        let until = self.drains_held_until.filter(|until| now < *until)?;
        let for_ms = until.since(now).as_millis() as u64;
        Some(Guard::DrainsHeld { for_ms })
    }

    /// Lets go of workers that have drained, and takes back those that took too long.
    pub(super) fn finish_drains(&mut self, plan: &mut Plan, seen: &Observation) {
        let limit = *self.policy.fleet.drain_limit;
        let kept = plan.supply.kept_draining.iter();
        let drained = kept.filter(|id| seen.is_drained(id));
        (plan.action.remove).extend(drained.map(|id| (*id).to_owned()));
        for (id, since) in &plan.supply.draining {
            let id = (*id).to_owned();
            if plan.action.undrain.contains(&id) {
                continue;
            }
            if seen.is_drained(&id) {
                plan.action.remove.push(id);
            } else if plan.now.since(*since) > limit {
                plan.action.undrain.push(id.clone());
                plan.guard(Guard::DrainGaveUp { id });
                let pause = self.policy.down().stabilization.max(limit);
                self.drains_held_until = Some(plan.now + pause);
            }
        }
    }
}
