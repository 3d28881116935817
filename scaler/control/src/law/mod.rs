//! The law: from what a tick saw to what is to be done about it.
//!
//! Terms ask for workers and the largest wins; windows, steps and bounds say how far the fleet may
//! follow; guards keep it from shrinking on less than full knowledge.

mod approach;

use std::time::Duration;

use crate::boots::Boots;
use crate::calendar::Calendar;
use crate::decision::{Action, Ask, Decision, Guard};
use crate::forecast::{self, Forecaster, Look};
use crate::pace::History;
use crate::plan::Plan;
use crate::supply::{Supply, Watched};
use crate::terms::{self, Scene};
use crate::{
    Bounds, CostRules, Fleet, Health, Learned, Observation, Override, Policy, Size, Stage, Time,
    Window,
};

/// A pause between two ticks beyond which what lay before no longer vouches for what comes after.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Decides, tick after tick, how many workers there shall be.
#[derive(Clone, Debug)]
pub struct Law {
    policy: Policy,
    window: Window,
    boots: Boots,
    forecaster: Option<Forecaster>,
    calendar: Calendar,
    by_hand: Option<Override>,
    history: History,
    watched_since: Time,
    /// When ticks last went on after a pause: the clock was set, or the machine slept.
    resumed: Time,
    last_tick: Option<Time>,
    /// When a worker's answer was last counted.
    answered: Time,
    /// What was needed when every proxy had last answered.
    seen_need: u32,
    /// They all answered at the last tick.
    was_whole: bool,
    /// How far the wall clock is behind the time of the ticks, as it was set back.
    behind: Duration,
    drains_held_until: Option<Time>,
}

impl Law {
    pub fn new(policy: Policy) -> Law {
        Law {
            window: Window::new(longest_window(&policy), *policy.stale_after),
            boots: Boots::default(),
            forecaster: Forecaster::of(&policy),
            calendar: Calendar::of(&policy),
            by_hand: None,
            policy,
            history: History::default(),
            watched_since: Time::default(),
            resumed: Time::default(),
            last_tick: None,
            answered: Time::default(),
            seen_need: 0,
            was_whole: false,
            behind: Duration::ZERO,
            drains_held_until: None,
        }
    }

    /// The wall clock was set back: schedules go by it, and nothing else does.
    pub fn set_behind(&mut self, behind: Duration) {
        self.behind = behind;
    }

    /// From now on the fleet's size is as somebody says, until they say otherwise or it ends.
    pub fn set_override(&mut self, by_hand: Option<Override>) {
        self.by_hand = by_hand;
    }

    pub fn by_hand(&self) -> Option<Override> {
        self.by_hand
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Goes on under another policy, with all that is remembered. One that looks further back
    /// than was remembered begins to watch anew.
    pub fn reload(&mut self, policy: Policy) {
        let looks_back = |policy: &Policy| (policy.down().longest_period(), longest_window(policy));
        let (before, after) = (looks_back(&self.policy), looks_back(&policy));
        if after.0 > before.0 || after.1 > before.1 {
            self.watched_since = self.last_tick.unwrap_or_default();
        }
        self.window
            .resize(longest_window(&policy), *policy.stale_after);
        self.calendar = Calendar::of(&policy);
        self.forecaster = Forecaster::reload(self.forecaster.take(), &policy);
        self.policy = policy;
    }

    /// Takes in a tick that an earlier run of the scaler decided; to be called in order of time.
    pub fn recall(&mut self, at: Time, seen: &Observation, fleet: &Fleet, decision: &Decision) {
        self.watch(at);
        self.learn(at, seen, fleet);
        self.remember(at, decision);
    }

    /// What was learned so far.
    pub fn learned(&self) -> Learned {
        let traffic = self.forecaster.as_ref().map(Forecaster::learned);
        Learned::new(self.boots.took(), traffic)
    }

    /// Goes on with what an earlier run has learned, in place of what this one has.
    pub fn take_up(&mut self, learned: Learned) {
        let (launches_s, traffic) = learned.into_parts();
        self.boots.take_up(&launches_s);
        if let (Some(forecaster), Some(traffic)) = (&mut self.forecaster, traffic) {
            forecaster.take_up(traffic);
        }
    }

    /// Decides this tick. Same calls, same decisions; never panics.
    pub fn decide(&mut self, now: Time, seen: &Observation, fleet: &Fleet) -> Decision {
        let decision = self.consider(now, seen, fleet);
        self.remember_changes(now, &decision.action);
        decision
    }

    /// What [`Law::decide`] would do now, for one who will not do it: nothing of it counts as
    /// done at the ticks to come.
    pub fn consider(&mut self, now: Time, seen: &Observation, fleet: &Fleet) -> Decision {
        self.watch(now);
        self.learn(now, seen, fleet);
        let supply = Supply::of(
            &Watched {
                now,
                seen,
                health: self.window.health(),
                listening_since: self.window.listening_since(),
                rules: &self.policy.fleet,
                boots: &self.boots,
                answered: self.answered,
                resumed: self.resumed,
            },
            fleet,
        );
        let mut asks = terms::asks(&Scene {
            now,
            policy: &self.policy,
            window: &self.window,
            forecaster: self.forecaster.as_ref(),
            serving: supply.serving.len() as u32,
            counted: supply.counted(),
        });
        let lead_time = self.policy.fleet.lead_time.into();
        asks.extend(self.calendar.asks(now - self.behind, lead_time));
        let (winner, need) = largest(&asks, supply.counted());
        let known = self.known_need(need);
        self.history.need(now, known);
        self.forget_history(now);

        let mut plan = Plan {
            now,
            supply: &supply,
            launches_held_until: fleet.launches_held_until,
            scale_in_held: fleet.scale_in_held.clone(),
            action: Action::default(),
            guards: Vec::new(),
        };
        let aim = self.aim(&mut plan, need);
        match self.sized_by_hand(&mut plan) {
            Some(Size::AsItIs) => {}
            Some(Size::Workers(workers)) => {
                let to = self.policy.fleet.bounds().clamp(workers);
                self.approach(&mut plan, to, &asks, seen);
            }
            None => self.approach(&mut plan, aim, &asks, seen),
        }
        self.finish_drains(&mut plan, seen);
        plan.action.replace.clone_from(&supply.failed);
        supply
            .mass_silence
            .iter()
            .for_each(|guard| plan.guard(guard.clone()));

        let mut decision = plan.decide(need, asks, winner);
        let price = |cost: CostRules| cost.of(fleet.workers.len() as u32);
        decision.cost_per_hour = self.policy.cost.map(price);
        decision
    }

    /// What is needed, as the windows of the past are to know it. While a proxy is missing it is
    /// less than there is, and nothing shrinks; once all answer again, what was needed when they
    /// last did counts once more.
    fn known_need(&mut self, need: u32) -> u32 {
        let is_whole = *self.window.health() == Health::Complete;
        let before = match is_whole && !self.was_whole {
            true => self.seen_need,
            false => 0,
        };
        self.was_whole = is_whole;
        if is_whole {
            self.seen_need = need;
        }
        need.max(before)
    }

    /// The size to go for now, given what is needed: within windows, steps and bounds.
    fn aim(&mut self, plan: &mut Plan, need: u32) -> u32 {
        let (now, counted) = (plan.now, plan.supply.counted());
        let (out, down) = (&self.policy.out(), &self.policy.down());
        let bounds = self.bounds();
        let (least, most) = self.history.needs(now, out, down);
        if let Some(forecaster) = &mut self.forecaster {
            forecaster.hold(most.unwrap_or(need));
        }
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
            less if less < need && max < self.policy.fleet.max => {
                plan.guard(Guard::Budget { workers: max });
            }
            less if less < need => plan.guard(Guard::Max { max }),
            _ => {}
        }
        bounded
    }

    /// What the policy allows, within what the budget pays for.
    fn bounds(&self) -> Bounds {
        let Bounds { min, max } = self.policy.fleet.bounds();
        let ceiling = self.policy.cost.and_then(|cost| cost.ceiling());
        let max = max.min(ceiling.unwrap_or(max)).max(min);
        Bounds { min, max }
    }

    /// The size that somebody set by hand, while it lasts.
    fn sized_by_hand(&mut self, plan: &mut Plan) -> Option<Size> {
        self.by_hand = self.by_hand.filter(|by_hand| by_hand.lasts(plan.now));
        let by_hand = self.by_hand?;
        plan.guards.clear();
        plan.guard(Guard::Override { by_hand });
        Some(by_hand.size)
    }

    /// Counts these changes against step limits, as those that were made: when, workers added,
    /// workers removed; in order of time.
    pub fn set_changes(&mut self, changes: impl Iterator<Item = (Time, u32, u32)>) {
        self.history.set_changes(changes);
    }

    /// What lies before `now` vouches for nothing: the fleet does not shrink for as long as the
    /// policy looks back.
    pub fn watch_anew(&mut self, now: Time) {
        self.watched_since = now;
    }

    /// Takes in what a tick saw.
    fn learn(&mut self, now: Time, seen: &Observation, fleet: &Fleet) {
        self.window.take(now, seen);
        self.boots.push(now, fleet);
        let seen_by = seen.proxies.iter().filter_map(|proxy| proxy.seen.as_ref());
        if seen_by.into_iter().any(|seen| seen.served > 0) {
            self.answered = now;
        }
        let Some(forecaster) = &mut self.forecaster else {
            return;
        };
        let at = |stage: fn(&Stage) -> bool| {
            let workers = fleet.workers.iter();
            workers.filter(|worker| stage(&worker.stage)).count() as u32
        };
        forecaster.take(&Look {
            now,
            seen,
            window: &self.window,
            serving: at(|stage| matches!(stage, Stage::Serving { .. })),
            booting: at(|stage| matches!(stage, Stage::Booting)),
            lead_time: self.boots.lead_time(self.policy.fleet.lead_time.into()),
        });
    }

    fn watch(&mut self, now: Time) {
        let last = self.last_tick.replace(now);
        let is_long = |last: Time| now.since(last) > LONGEST_PAUSE;
        if last.is_none_or(is_long) {
            self.watched_since = now;
        }
        if last.is_some_and(is_long) {
            self.resumed = now;
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
        self.forget_history(at);
    }

    fn forget_history(&mut self, now: Time) {
        let (out, down) = (&self.policy.out(), &self.policy.down());
        let longest = out.longest_period().max(down.longest_period());
        self.history.forget_before(now - longest);
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
    let latency = match policy.forecast {
        Some(_) => forecast::LATENCY_WINDOW,
        None => Duration::ZERO,
    };
    windows.fold(latency, Duration::max)
}
