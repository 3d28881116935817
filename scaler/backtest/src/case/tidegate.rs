//! Tidegate's own law in the simulator, called as the daemon calls it: signals as they come over
//! the wire through [`Observer::observe`], members through [`Roster::update`], both to
//! [`Law::decide`], and its action carried out by name.

use std::time::Duration;

use tidegate_queue::Moment;

use crate::sim::{Autoscaler, Moves, Observed, Orders, Scenario, Timing, WorkerId};
use tidegate_control::{Action, Answer, Fleet, Law, Member, Observer, Policy, Roster, Time};

/// How the policy's only proxy is called.
const PROXY: &str = "simulated";

/// As the daemon ticks.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Tidegate {
    law: Law,
    observer: Observer,
    roster: Roster,
    period: Duration,
    /// What the clock says when this demand begins, since 1970: the date of a trace that has dates,
    /// and how long the law has lived before.
    begins: Duration,
}

impl Tidegate {
    pub fn new(policy: Policy, period: Duration) -> Tidegate {
        Tidegate {
            law: Law::new(policy),
            observer: Observer::default(),
            roster: Roster::default(),
            period,
            begins: Duration::ZERO,
        }
    }

    /// As the daemon runs the policy, one tick a second, with what a scenario owns taken from it:
    /// bounds, lead time and SLO.
    pub fn in_scenario(mut policy: Policy, scenario: &Scenario) -> Tidegate {
        let fleet = &mut policy.fleet;
        (fleet.min, fleet.max) = (scenario.min_workers, scenario.max_workers);
        let slowest = scenario.lead_time.mul_f64(1.0 + scenario.lead_spread);
        fleet.lead_time = (slowest + TICK).into();
        policy.slo.latency = scenario.slo;
        Tidegate::new(policy, TICK)
    }

    /// The same where the first demand begins at this time since 1970, so that schedules act at their
    /// hours.
    pub fn beginning(self, begins: Duration) -> Tidegate {
        Tidegate { begins, ..self }
    }

    /// Goes on to another demand, which began when one of this length ended, with all that the law has
    /// learned, before a fleet that is new to it.
    pub fn go_on(&mut self, span: Duration) {
        self.begins += span;
        self.observer = Observer::default();
        self.roster = Roster::default();
    }

    fn remember(&mut self, now: Time, action: &Action) {
        action
            .undrain
            .iter()
            .for_each(|id| self.roster.undrain(now, id));
        action
            .drain
            .iter()
            .for_each(|id| self.roster.drain(now, id));
    }
}

impl Autoscaler for Tidegate {
    fn timing(&self) -> Timing {
        Timing {
            period: self.period,
            lag: Duration::ZERO,
        }
    }

    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders {
        let now = time(now + self.begins);
        let answer = Answer {
            source: PROXY.to_owned(),
            signal: observed.signal(),
        };
        let seen = self.observer.observe(&[answer]);
        let members: Vec<Member> = (observed.members().into_iter())
            .map(|member| Member {
                id: member.id.to_string(),
                launched: time(member.launched + self.begins),
                leaving: false,
            })
            .collect();
        let fleet = Fleet {
            workers: self.roster.update(now, &members, &seen),
            ..Fleet::default()
        };
        let decision = self.law.decide(now, &seen, &fleet);
        self.remember(now, &decision.action);
        Orders::Moves(moves(&decision.action))
    }
}

fn time(moment: Moment) -> Time {
    Time::from_ms(moment.as_millis() as u64)
}

fn moves(action: &Action) -> Moves {
    let ids = |names: &[String]| -> Vec<WorkerId> {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    };
    let replaced = action
        .replace
        .iter()
        .filter_map(|replacement| replacement.id.parse().ok());
    Moves {
        undrain: ids(&action.undrain),
        launch: action.launch,
        drain: ids(&action.drain),
        remove: ids(&action.remove).into_iter().chain(replaced).collect(),
    }
}
