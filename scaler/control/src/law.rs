//! The law: from what a tick saw to what is to be done about it.
//!
//! Terms ask for workers and the largest wins; windows, steps and bounds say how far the fleet may
//! follow; guards keep it from shrinking on less than full knowledge.

use std::time::Duration;

use crate::decision::{Action, Ask, Decision, Guard, Reason};
use crate::pace::History;
use crate::supply::{Supply, Watched};
use crate::terms::{self, Scene};
use crate::{Fleet, Health, Observation, Policy, Time, Window};

/// A pause between two ticks beyond which what lay before no longer vouches for what comes after.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Decides, tick after tick, how many workers there shall be.
#[derive(Clone, Debug)]
pub struct Law {
    policy: Policy,
    window: Window,
    history: History,
    watched_since: Time,
    last_tick: Option<Time>,
    drains_held_until: Option<Time>,
}

/// A tick's decision in the making.
struct Plan<'a> {
    now: Time,
    supply: &'a Supply<'a>,
    launches_held_until: Option<Time>,
    action: Action,
    guards: Vec<Guard>,
}

impl Law {
    pub fn new(policy: Policy) -> Law {
        Law {
            window: Window::new(longest_window(&policy), *policy.stale_after),
            policy,
            history: History::default(),
            watched_since: Time::default(),
            last_tick: None,
            drains_held_until: None,
        }
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Goes on under another policy, with all that is remembered. One that looks further back
    /// than was remembered begins to watch anew.
    pub fn reload(&mut self, policy: Policy) {
        let looks_back = |policy: &Policy| (policy.down_window(), longest_window(policy));
        let (before, after) = (looks_back(&self.policy), looks_back(&policy));
        if after.0 > before.0 || after.1 > before.1 {
            self.watched_since = self.last_tick.unwrap_or_default();
        }
        self.window
            .resize(longest_window(&policy), *policy.stale_after);
        self.policy = policy;
    }

    /// Takes in a tick that an earlier run of the scaler decided; to be called in order of time.
    pub fn recall(&mut self, at: Time, seen: &Observation, decision: &Decision) {
        self.watch(at);
        self.window.take(at, seen);
        self.remember(at, decision);
    }

    /// Decides this tick. Same calls, same decisions; never panics.
    pub fn decide(&mut self, now: Time, seen: &Observation, fleet: &Fleet) -> Decision {
        self.watch(now);
        self.window.take(now, seen);
        let supply = Supply::of(
            &Watched {
                now,
                seen,
                health: self.window.health(),
                listening_since: self.window.listening_since(),
                rules: &self.policy.fleet,
            },
            fleet,
        );
        let asks = terms::asks(&Scene {
            now,
            policy: &self.policy,
            window: &self.window,
            serving: supply.serving.len() as u32,
            counted: supply.counted(),
        });
        let (winner, need) = largest(&asks, supply.counted());
        self.history.need(now, need);

        let mut plan = Plan {
            now,
            supply: &supply,
            launches_held_until: fleet.launches_held_until,
            action: Action::default(),
            guards: Vec::new(),
        };
        let to = self.aim(&mut plan, need);
        self.approach(&mut plan, to, &asks);
        self.finish_drains(&mut plan, seen);
        plan.action.replace.clone_from(&supply.failed);
        supply
            .mass_silence
            .iter()
            .for_each(|guard| plan.guard(guard.clone()));

        let decision = plan.decide(need, asks, winner);
        self.remember_changes(now, &decision.action);
        decision
    }

    /// The size to go for now, given what is needed: within windows, steps and bounds.
    fn aim(&self, plan: &mut Plan, need: u32) -> u32 {
        let (now, counted) = (plan.now, plan.supply.counted());
        let (out, down) = (&self.policy.scale_out, &self.policy.scale_in);
        let bounds = self.policy.fleet.bounds();
        let (least, most) = self.history.needs(now, out, down);
        let settled = counted.max(least.unwrap_or(need)).min(most.unwrap_or(need));
        if bounds.clamp(settled) != bounds.clamp(need) {
            let pace = if need > counted { out } else { down };
            let window = pace.stabilization.into();
            plan.guard(Guard::Stabilization { window });
        }
        let stepped = settled
            .min(self.history.most(now, counted, out))
            .max(self.history.least(now, counted, down));
        if stepped != settled {
            plan.guard(Guard::Steps);
        }
        let bounded = bounds.clamp(stepped);
        let (min, max) = (bounds.min, bounds.max);
        match bounds.clamp(need) {
            more if more > need => plan.guard(Guard::Min { min }),
            less if less < need => plan.guard(Guard::Max { max }),
            _ => {}
        }
        bounded
    }

    /// Grows or shrinks towards `to`.
    fn approach(&self, plan: &mut Plan, to: u32, asks: &[Ask]) {
        let counted = plan.supply.counted();
        if to > counted {
            plan.grow(to - counted, self.policy.fleet.max);
        } else if to < counted {
            match self.why_not_shrink(plan, asks) {
                Some(guard) => plan.guard(guard),
                None => plan.shrink(counted - to),
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
        if let Some(ask) = asks.iter().find(|ask| ask.workers.is_none()) {
            let signal = ask.term.clone();
            return Some(Guard::Missing { signal });
        }
        let watched = now.since(self.watched_since);
        let looks_back = self.policy.down_window().max(longest_window(&self.policy));
        if let Some(left) = looks_back.checked_sub(watched)
            && !left.is_zero()
        {
            let for_ms = left.as_millis() as u64;
            return Some(Guard::Watching { for_ms });
        }
        if let Some(until) = self.drains_held_until.filter(|until| now < *until) {
            let for_ms = until.since(now).as_millis() as u64;
            return Some(Guard::DrainsHeld { for_ms });
        }
        (plan.supply.booting > 0).then_some(Guard::Booting)
    }

    /// Lets go of workers that have drained, and takes back those that took too long.
    fn finish_drains(&mut self, plan: &mut Plan, seen: &Observation) {
        let limit = *self.policy.fleet.drain_limit;
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
                let pause = self.policy.scale_in.stabilization.max(limit);
                self.drains_held_until = Some(plan.now + pause);
            }
        }
    }

    fn watch(&mut self, now: Time) {
        let last = self.last_tick.replace(now);
        if last.is_none_or(|last| now.since(last) > LONGEST_PAUSE) {
            self.watched_since = now;
        }
    }

    fn remember(&mut self, at: Time, decision: &Decision) {
        self.history.need(at, decision.need);
        self.remember_changes(at, &decision.action);
    }

    fn remember_changes(&mut self, at: Time, action: &Action) {
        let added = action.launch + action.undrain.len() as u32;
        if added > 0 {
            self.history.added(at, added);
        }
        if !action.drain.is_empty() {
            self.history.removed(at, action.drain.len() as u32);
        }
        let (out, down) = (&self.policy.scale_out, &self.policy.scale_in);
        let longest = out.longest_period().max(down.longest_period());
        self.history.forget_before(at - longest);
    }
}

impl Plan<'_> {
    /// Names what held this tick back, once.
    fn guard(&mut self, guard: Guard) {
        if !self.guards.contains(&guard) {
            self.guards.push(guard);
        }
    }

    /// Takes draining workers back before it launches new ones. Those that are in doubt are not
    /// counted on, but are there, so they take their part of `max`.
    fn grow(&mut self, by: u32, max: u32) {
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

    fn shrink(&mut self, by: u32) {
        self.action.drain = self.supply.victims(by);
    }

    fn decide(self, need: u32, asks: Vec<Ask>, winner: Option<usize>) -> Decision {
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
        }
    }
}

/// The largest ask and what it comes to. One that cannot say holds the fleet as large as it is.
fn largest(asks: &[Ask], counted: u32) -> (Option<usize>, u32) {
    let value = |ask: &Ask| ask.workers.unwrap_or(counted);
    let first_largest = asks.iter().enumerate().reduce(|best, next| {
        if value(next.1) > value(best.1) {
            next
        } else {
            best
        }
    });
    match first_largest {
        Some((index, ask)) => (Some(index), value(ask)),
        None => (None, 0),
    }
}

fn longest_window(policy: &Policy) -> Duration {
    let windows = policy.signals.iter().map(|rule| *rule.window);
    windows.fold(Duration::ZERO, Duration::max)
}
