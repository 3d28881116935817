//! Simulated fleets: what staffing by each margin would have come to.
//!
//! What a worker more or less does shows a lead time later. So beside the real fleet, simulated ones
//! are staffed by the very rule that staffs the real one, each with a margin of its own: whole
//! workers, the hold, launches that serve a lead time later, and the queue's own refusals. They work
//! on the real arrivals, and what their queues come to is what that margin would have cost. Growth,
//! bursts, noise and the time that a change takes to be seen are in it as they were, with no model
//! of the demand.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_queue::Moment;

use super::lateness::Lateness;
use super::size::{Margin, Rule};

/// Margins are even steps of their logarithm, from none to nearly four times the load.
const FACTORS: i32 = 28;
const STEP: f64 = 1.05;

/// What happened counts half after six hours.
const HALF_LIFE_S: f64 = 6.0 * 3600.0;

/// Before anything was seen, as if an hour had been in which a fleet without a margin misses this
/// share, and `PRIOR_GROWTH` more margin e times less. Growth goes with the root of the lead time.
const PRIOR_S: f64 = 3600.0;
const PRIOR_MISSED: f64 = 0.03;
const PRIOR_GROWTH: f64 = 0.1;

/// All misses that are allowed are worth this share of the load in slots.
const WORTH: f64 = 0.15;

/// Guards a quotient where services take no time at all.
const SHORTEST_SERVICE_S: f64 = 1e-6;

/// A longer pause between two readings says nothing about queues.
const LONGEST_PAUSE_S: f64 = 10.0;

#[derive(Clone, Debug)]
struct Fleet {
    margin: Margin,
    /// What was asked for within the hold, and what was held within a lead time.
    asked: Window,
    held: Window,
    last_asked: u32,
    /// Workers that are paid for, and those that serve.
    workers: u32,
    serving: u32,
    /// Requests in its queue.
    waiting: f64,
    /// Requests that missed the promise because they waited or were refused.
    missed: f64,
    /// Requests that the slots which were paid for could have served.
    paid: f64,
}

/// What the fleets came to: requests, and those that missed and that were paid for, by fleet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcomes {
    requests: f64,
    missed: Vec<f64>,
    paid: Vec<f64>,
}

/// Values of the last while that may still be its largest, or its least.
#[derive(Clone, Debug, Default)]
struct Window(VecDeque<(Moment, u32)>);

impl Window {
    /// Takes in a value; the one of the last `span` that goes before all others.
    fn push(
        &mut self,
        now: Moment,
        value: u32,
        span: Duration,
        before: fn(u32, u32) -> bool,
    ) -> u32 {
        while self.0.back().is_some_and(|(_, last)| !before(*last, value)) {
            self.0.pop_back();
        }
        self.0.push_back((now, value));
        while self.0.front().is_some_and(|(at, _)| *at + span < now) {
            self.0.pop_front();
        }
        self.0.front().map_or(value, |(_, first)| *first)
    }
}

/// What a tick saw.
pub(super) struct Sight<'a> {
    pub now: Moment,
    /// Requests since the reading before.
    pub arrived: f64,
    pub rule: Rule,
    pub service_s: f64,
    /// What waits is worked off in this time.
    pub drain_s: f64,
    pub lateness: &'a Lateness,
}

#[derive(Clone, Debug)]
pub(super) struct Simulated {
    lead_time: Duration,
    hold: Duration,
    fleets: Vec<Fleet>,
    last: Option<Moment>,
    /// Since when readings came without a pause.
    since: Moment,
    requests: f64,
}

impl Simulated {
    pub fn new(lead_time: Duration, hold: Duration) -> Simulated {
        let margins = [false, true].into_iter().flat_map(|follows_rise| {
            (0..FACTORS).map(move |step| Margin {
                factor: STEP.powi(step),
                follows_rise,
            })
        });
        Simulated {
            lead_time,
            hold,
            fleets: margins.map(Fleet::new).collect(),
            last: None,
            since: Moment::ZERO,
            requests: 0.0,
        }
    }

    /// Launches take so long from now on, and workers stay for so long.
    pub fn set_times(&mut self, lead_time: Duration, hold: Duration) {
        (self.lead_time, self.hold) = (lead_time, hold);
    }

    pub fn outcomes(&self) -> Outcomes {
        Outcomes {
            requests: self.requests,
            missed: self.fleets.iter().map(|fleet| fleet.missed).collect(),
            paid: self.fleets.iter().map(|fleet| fleet.paid).collect(),
        }
    }

    /// Goes on with what an earlier run's fleets came to.
    pub fn take_up(&mut self, outcomes: &Outcomes) {
        self.requests = outcomes.requests;
        let kept = outcomes.missed.iter().zip(&outcomes.paid);
        for (fleet, (missed, paid)) in self.fleets.iter_mut().zip(kept) {
            (fleet.missed, fleet.paid) = (*missed, *paid);
        }
    }

    pub fn push(&mut self, sight: &Sight) {
        let now = sight.now;
        let last = self.last.replace(now);
        let seconds = last.map_or(0.0, |last| now.saturating_sub(last).as_secs_f64());
        if seconds == 0.0 || seconds > LONGEST_PAUSE_S {
            self.since = now;
            // What the queues are is not known.
            self.fleets.iter_mut().for_each(Fleet::begin_anew);
        }
        // Before that nothing serves that was launched for what was seen.
        let serves = self.since + self.lead_time < now;
        let left = (-seconds * std::f64::consts::LN_2 / HALF_LIFE_S).exp();
        let lead_time = if serves {
            self.lead_time
        } else {
            Duration::ZERO
        };
        if serves {
            self.requests = self.requests * left + sight.arrived;
        }
        for fleet in &mut self.fleets {
            if serves {
                fleet.work(seconds, left, sight);
            }
            fleet.staff(sight, lead_time, self.hold);
        }
    }

    /// The margin at which slots and misses cost least, or a cheaper one that keeps the promise too,
    /// where `per_s` come now and the share `allowed` may miss the promise because it waits.
    pub fn margin(&self, per_s: f64, allowed: f64) -> Margin {
        let price = WORTH / allowed;
        let cost = |seen: &Judged| seen.paid + price * seen.missed;
        let keeps = |seen: &Judged| seen.missed <= allowed;
        let least = |a: Judged, b: Judged, by: &dyn Fn(&Judged) -> f64| match by(&b) < by(&a) {
            true => b,
            false => a,
        };
        let all = || self.fleets.iter().map(|fleet| self.judge(fleet, per_s));
        let cheapest = all().reduce(|a, b| least(a, b, &cost));
        let enough = all()
            .filter(keeps)
            .reduce(|a, b| least(a, b, &|seen| seen.paid));
        let chosen = cheapest.into_iter().chain(enough);
        let chosen = chosen.reduce(|a, b| least(a, b, &|seen| seen.paid));
        chosen.map_or(Margin::NONE, |seen| seen.margin)
    }

    /// Share of requests that misses the promise with this margin.
    pub fn missed(&self, margin: Margin, per_s: f64) -> f64 {
        let alike = (self.fleets.iter())
            .filter(|fleet| fleet.margin.follows_rise == margin.follows_rise)
            .map(|fleet| self.judge(fleet, per_s));
        let mut below: Option<Judged> = None;
        for seen in alike {
            if seen.margin.factor >= margin.factor {
                let Some(below) = below else {
                    return seen.missed;
                };
                let share = (margin.factor - below.margin.factor)
                    / (seen.margin.factor - below.margin.factor);
                return below.missed + share * (seen.missed - below.missed);
            }
            below = Some(seen);
        }
        below.map_or(0.0, |seen| seen.missed)
    }

    /// What was seen of a fleet, and the prior.
    fn judge(&self, fleet: &Fleet, per_s: f64) -> Judged {
        let prior = per_s * PRIOR_S;
        let requests = (self.requests + prior).max(f64::MIN_POSITIVE);
        let factor = fleet.margin.factor;
        let growth = PRIOR_GROWTH * (self.lead_time.as_secs_f64() / 60.0).sqrt();
        let missed = PRIOR_MISSED * (-(factor - 1.0) / growth.max(f64::MIN_POSITIVE)).exp();
        Judged {
            margin: fleet.margin,
            missed: (fleet.missed + prior * missed) / requests,
            paid: (fleet.paid + prior * factor) / requests,
        }
    }
}

/// A margin, and what it comes to.
struct Judged {
    margin: Margin,
    /// Share of requests that miss the promise because they wait.
    missed: f64,
    /// Slots that are paid for, over those that the requests need.
    paid: f64,
}

impl Fleet {
    fn new(margin: Margin) -> Fleet {
        Fleet {
            margin,
            asked: Window::default(),
            held: Window::default(),
            last_asked: 0,
            workers: 0,
            serving: 0,
            waiting: 0.0,
            missed: 0.0,
            paid: 0.0,
        }
    }

    fn begin_anew(&mut self) {
        let (missed, paid) = (self.missed, self.paid);
        *self = Fleet {
            missed,
            paid,
            ..Fleet::new(self.margin)
        };
    }

    fn work(&mut self, seconds: f64, left: f64, sight: &Sight) {
        let service_s = sight.service_s.max(SHORTEST_SERVICE_S);
        let per_worker = sight.rule.concurrency / service_s * seconds;
        let served = f64::from(self.serving) * per_worker;
        let waiting = (self.waiting + sight.arrived - served).max(0.0);
        // The queue refuses what it cannot serve in time.
        let longest_s = (sight.lateness.promised_s() - service_s).max(0.0);
        self.waiting = waiting.min(served / seconds * longest_s);
        let refused = (waiting - self.waiting).min(sight.arrived);
        let wait_s = self.waiting / served.max(f64::MIN_POSITIVE) * seconds;
        let late = (sight.arrived - refused) * sight.lateness.cost(wait_s);
        self.missed = self.missed * left + refused + late;
        self.paid = self.paid * left + f64::from(self.workers) * per_worker;
    }

    fn staff(&mut self, sight: &Sight, lead_time: Duration, hold: Duration) {
        let draining = self.waiting * sight.service_s / sight.drain_s;
        let asked = sight.rule.workers(self.margin, draining, self.last_asked);
        self.last_asked = asked;
        self.workers = (self.asked).push(sight.now, asked, hold, |a, b| a > b);
        self.serving = (self.held).push(sight.now, self.workers, lead_time, |a, b| a < b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After three hours of this rate, at a lead time of a minute; services take a second.
    fn learned(per_s: impl Fn(u64) -> f64) -> Simulated {
        let mut simulated = Simulated::new(Duration::from_secs(60), Duration::from_secs(45));
        for second in 0..10_800 {
            push(&mut simulated, second, per_s(second), per_s(second));
        }
        simulated
    }

    fn push(simulated: &mut Simulated, second: u64, arrived: f64, per_s: f64) {
        simulated.push(&Sight {
            now: Moment::from_secs(second),
            arrived,
            rule: Rule {
                load: per_s,
                rise: 0.0,
                spare: 0.0,
                concurrency: 1.0,
            },
            service_s: 1.0,
            drain_s: 60.0,
            lateness: &Lateness::new(4.0),
        });
    }

    fn factor(simulated: &Simulated) -> f64 {
        simulated.margin(40.0, 0.01).factor
    }

    #[test]
    fn a_steady_past_leaves_little_headroom_and_steps_ask_for_theirs() {
        let steady = factor(&learned(|_| 40.0));
        assert!((1.0..1.12).contains(&steady), "{steady}");
        let stepping = learned(|second| if second % 1400 < 700 { 56.0 } else { 40.0 });
        let stepping = factor(&stepping);
        assert!((1.25..1.5).contains(&stepping), "{stepping}");
    }

    #[test]
    fn what_the_queue_absorbs_asks_for_nothing() {
        // Twice the rate for one second: a wait of a second in the queue.
        let short = factor(&learned(
            |second| if second % 600 == 0 { 80.0 } else { 40.0 },
        ));
        assert!(short < 1.2, "{short}");
    }

    #[test]
    fn a_pause_in_the_readings_is_held_against_no_margin() {
        let mut simulated = learned(|_| 40.0);
        let before = simulated.missed(Margin::NONE, 40.0);
        push(&mut simulated, 10_900, 4000.0, 40.0);
        assert_eq!(simulated.missed(Margin::NONE, 40.0), before);
    }

    #[test]
    fn before_anything_was_seen_there_is_headroom_and_more_doubt_the_longer_a_launch_takes() {
        let first = |lead_s| {
            let hold = Duration::from_secs(45);
            Simulated::new(Duration::from_secs(lead_s), hold)
        };
        let (short, long) = (first(60), first(300));
        for simulated in [&short, &long] {
            let factor = factor(simulated);
            assert!((1.05..1.25).contains(&factor), "{factor}");
        }
        let tenth = Margin {
            factor: 1.1,
            ..Margin::NONE
        };
        assert!(long.missed(tenth, 40.0) > 1.5 * short.missed(tenth, 40.0));
    }
}
