//! Properties of the law with a fleet that obeys it, over random loads, boot times and outages.

use proptest::prelude::*;
use tidegate_control::{
    Action, Decision, Fleet, Guard, Law, Member, Observation, Policy, ProxyObservation, Roster,
    WorkerObservation,
};

use crate::stage::{POLICY, at, policy, seen};

fn by_concurrency() -> Policy {
    policy(&POLICY.replace("in_flight", "concurrency"))
}

const SLOTS: u64 = 4;

/// A fleet that boots, serves, drains and stops as it is ordered.
struct Plant {
    law: Law,
    roster: Roster,
    members: Vec<Member>,
    boot_s: u64,
    launched: u32,
    second: u64,
}

/// One tick as it was seen and decided.
struct Tick {
    decision: Decision,
    /// Members after the tick.
    members: u32,
    proxies_missing: bool,
}

impl Plant {
    fn new(boot_s: u64) -> Plant {
        Plant {
            law: Law::new(by_concurrency()),
            roster: Roster::default(),
            members: Vec::new(),
            boot_s,
            launched: 0,
            second: 0,
        }
    }

    fn is_up(&self, member: &Member) -> bool {
        at(self.second).since(member.launched).as_secs() >= self.boot_s
    }

    fn observe(&self, load: u64, answers: bool) -> Observation {
        let draining: Vec<&str> = self.roster.draining().map(|(id, _)| id).collect();
        let serves = |m: &&Member| self.is_up(m) && !draining.contains(&m.id.as_str());
        let serving = self.members.iter().filter(serves).count() as u64;
        let in_flight = load.min(serving * SLOTS);
        let mut seen = seen(load - in_flight, in_flight);
        let up = self.members.iter().filter(|member| self.is_up(member));
        seen.workers = up
            .map(|member| WorkerObservation {
                id: member.id.clone(),
                ready: true,
                draining: draining.contains(&member.id.as_str()),
                slots: SLOTS as u32,
                permits: 0,
                elsewhere: 0,
                beat_age_ms: 0,
            })
            .collect();
        Observation {
            proxies: vec![ProxyObservation {
                source: "a".to_owned(),
                seen: answers.then_some(seen),
            }],
            ..Observation::default()
        }
    }

    fn tick(&mut self, load: u64, answers: bool) -> Tick {
        self.second += 1;
        let now = at(self.second);
        let observation = self.observe(load, answers);
        let fleet = Fleet {
            workers: self.roster.update(now, &self.members, &observation),
            ..Fleet::default()
        };
        let decision = self.law.decide(now, &observation, &fleet);
        self.act(&decision.action);
        Tick {
            decision,
            members: self.members.len() as u32,
            proxies_missing: !answers,
        }
    }

    fn act(&mut self, action: &Action) {
        let now = at(self.second);
        let gone =
            |id: &String| action.remove.contains(id) || action.replace.iter().any(|r| r.id == *id);
        self.members.retain(|member| !gone(&member.id));
        action
            .drain
            .iter()
            .for_each(|id| self.roster.drain(now, id));
        action
            .undrain
            .iter()
            .for_each(|id| self.roster.undrain(now, id));
        for _ in 0..action.launch {
            self.launched += 1;
            self.members.push(Member {
                id: format!("w-{:04}", self.launched),
                launched: now,
                leaving: false,
            });
        }
    }
}

/// Loads in stretches of constant value, with the seconds that each lasts.
fn loads() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0..60_u64, 1..80_u64), 1..8)
}

fn ticks(plant: &mut Plant, loads: &[(u64, u64)], outages: &[bool]) -> Vec<Tick> {
    let seconds = loads
        .iter()
        .flat_map(|(load, seconds)| (0..*seconds).map(|_| *load));
    let answers = outages.iter().cycle();
    seconds
        .zip(answers)
        .map(|(load, missing)| plant.tick(load, !missing))
        .collect()
}

/// Bounds hold for what is there: workers that are overdue while a proxy is missing are not counted
/// on, but take their part of `fleet.max`, so that fewer than `fleet.min` may count.
fn keeps_within_the_bounds(
    boot_s: u64,
    loads: &[(u64, u64)],
    outages: &[bool],
) -> Result<(), TestCaseError> {
    let mut plant = Plant::new(boot_s);
    for tick in ticks(&mut plant, loads, outages) {
        let Decision { action, reason, .. } = &tick.decision;
        prop_assert!((1..=5).contains(&tick.members), "{}", tick.decision);
        prop_assert!(reason.to >= 1 || tick.members == 5, "{}", tick.decision);
        if tick.proxies_missing {
            let removes = action.drain.len() + action.remove.len() + action.replace.len();
            prop_assert_eq!(removes, 0, "{}", tick.decision);
        }
    }
    Ok(())
}

/// Five workers that boot for longer than their lead time, and a poll that is missed just then.
#[test]
fn workers_that_are_overdue_unseen_take_their_part_of_the_bounds() {
    let outages: Vec<bool> = (0..37).map(|tick| [29, 33, 36].contains(&tick)).collect();
    let loads = [(13, 16), (9, 28), (5, 67)];
    let kept = keeps_within_the_bounds(26, &loads, &outages);
    assert!(kept.is_ok(), "{kept:?}");
    let ticks = ticks(&mut Plant::new(26), &loads, &outages);
    let full = (ticks.iter()).any(|tick| tick.decision.reason.to == 0 && tick.members == 5);
    assert!(
        full,
        "none counts at some tick, and there is no room for another"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_outside_the_bounds_and_never_smaller_on_a_blind_tick(
        loads in loads(),
        outages in prop::collection::vec(prop::bool::weighted(0.2), 1..40),
        boot_s in 0..30_u64,
    ) {
        keeps_within_the_bounds(boot_s, &loads, &outages)?;
    }

    #[test]
    fn the_reason_names_the_largest_ask_and_a_guard_where_it_was_not_followed(
        loads in loads(),
        boot_s in 0..30_u64,
    ) {
        let mut plant = Plant::new(boot_s);
        for tick in ticks(&mut plant, &loads, &[false]) {
            let reason = &tick.decision.reason;
            let winner = reason.winner.and_then(|winner| reason.asks.get(winner));
            let asked = winner.and_then(|ask| ask.workers).unwrap_or(reason.from);
            let largest = reason.asks.iter().filter_map(|ask| ask.workers).max();
            prop_assert_eq!(Some(asked).max(largest), Some(asked));
            if reason.to != asked {
                let gave_up = |g: &Guard| matches!(g, Guard::DrainGaveUp { .. });
                let held = reason.guards.iter().any(|guard| !gave_up(guard));
                prop_assert!(held, "{}", tick.decision);
            }
        }
    }

    #[test]
    fn a_constant_load_settles(load in 0..60_u64, boot_s in 0..20_u64) {
        let mut plant = Plant::new(boot_s);
        ticks(&mut plant, &[(load, 200)], &[false]);
        let needed = load.div_ceil(SLOTS).clamp(1, 5) as u32;
        for tick in ticks(&mut plant, &[(load, 300)], &[false]) {
            prop_assert!(tick.decision.action.is_none(), "{}", tick.decision);
            // The tolerance may leave it one short or over.
            prop_assert!(tick.members.abs_diff(needed) <= 1, "{}", tick.decision);
        }
    }

    #[test]
    fn a_step_is_met_within_the_lead_time_and_the_signals_window(
        load in 1..20_u64,
        boot_s in 0..20_u64,
    ) {
        let mut plant = Plant::new(boot_s);
        ticks(&mut plant, &[(0, 100)], &[false]);
        ticks(&mut plant, &[(load, boot_s + 7)], &[false]);
        let needed = load as f64 / SLOTS as f64 / 1.1;
        prop_assert!(plant.members.len() as f64 >= needed, "{}", plant.members.len());
    }

    #[test]
    fn the_same_ticks_give_the_same_decisions(loads in loads(), boot_s in 0..30_u64) {
        let run = || -> Vec<String> {
            let mut plant = Plant::new(boot_s);
            ticks(&mut plant, &loads, &[false, false, true])
                .iter()
                .map(|tick| tick.decision.to_string())
                .collect()
        };
        prop_assert_eq!(run(), run());
    }
}
