//! How many workers demand asks for, one lead time from now.
//!
//! A launch decided now serves a lead time later. So the fleet is the load, by the rate over the
//! longest span that still has the same rate ([`rate`]), times a margin. The margin is the one that
//! would have been cheapest so far: simulated fleets try each on the real arrivals ([`simulated`]),
//! sized by the rule that sizes the real one ([`size`]). What a wait costs ([`lateness`]) and what a
//! worker can do ([`capacity`]) are learned.
//!
//! Pure as all of this crate: it sees monotone counters, and answers with a number and its terms.

mod capacity;
mod lateness;
mod rate;
mod simulated;
mod size;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_queue::Moment;

use capacity::{Capacity, Worker};
use lateness::Lateness;
use rate::{Estimate, Rate};
use simulated::{Sight, Simulated};
use size::{Margin, Rule};

use crate::Tally;

/// What staffing goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaffingRules {
    /// From launch to ready, for nearly all workers.
    pub lead_time: Duration,
    /// What was needed is held for so long.
    pub hold: Duration,
    /// What was promised, in seconds, and the share of requests that may miss it.
    pub promised_s: f64,
    pub misses: f64,
    /// What waits is worked off within this, or a lead time where that is longer.
    pub drain: Duration,
    /// Longest mean service time, in seconds, at which a worker's slots are all made use of.
    pub service_limit_s: f64,
}

/// The counters that a tick reads. Sums run from any start, and never back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    pub at: Moment,
    pub arrivals_total: u64,
    /// Requests answered by workers.
    pub served_total: u64,
    /// Time that workers were at them.
    pub service_s: f64,
    /// Requests in line now.
    pub waiting: u64,
    /// Requests at workers now.
    pub in_flight: u64,
    /// Workers that serve.
    pub serving: u32,
    /// Requests that one takes at once.
    pub slots: u32,
}

/// What was learned of traffic and workers, to outlive a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Traffic {
    capacity: Capacity,
    services: lateness::Services,
    outcomes: simulated::Outcomes,
}

/// What a tick came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Need {
    /// Workers for the demand a lead time from now.
    pub forecast: u32,
    /// As many, and those that work off what waits now.
    pub drain: u32,
    /// Workers for the last seconds' arrivals and no margin, when those are far beyond the fleet;
    /// else 0.
    pub panic: u32,
    /// Requests per second now.
    pub per_s: f64,
    /// Share of requests that staffing lets miss the promise because they wait.
    pub aim: f64,
    /// Share that would, as far as the past tells: with the forecast's workers, and with one fewer.
    pub missed: f64,
    pub missed_with_fewer: f64,
    /// Slots that the forecast asks for over those that are busy now, as a factor; 1 where less than a
    /// worker is.
    pub growth: f64,
    /// Variance of the number of arrivals over its mean.
    pub dispersion: f64,
    /// Mean service time in seconds at `concurrency`.
    pub service_s: f64,
    /// Requests that a worker is to be at.
    pub concurrency: f64,
    /// Slots that work off what waits by the time that a launch serves.
    pub draining: f64,
}

impl Need {
    /// Requests that would be at workers if nobody waited.
    pub fn load(&self) -> f64 {
        self.per_s * self.service_s
    }
}

/// Follows the demand, reading by reading.
#[derive(Clone, Debug)]
pub struct Staffing {
    rules: StaffingRules,
    rate: Rate,
    simulated: Simulated,
    lateness: Lateness,
    capacity: Capacity,
    arrivals_total: u64,
    held: u32,
}

impl Staffing {
    pub fn new(rules: StaffingRules) -> Staffing {
        Staffing {
            rules,
            rate: Rate::default(),
            simulated: Simulated::new(rules.lead_time, rules.hold),
            lateness: Lateness::new(rules.promised_s),
            capacity: Capacity::default(),
            arrivals_total: 0,
            held: 0,
        }
    }

    /// Goes on by other rules, with all that was learned.
    pub fn set_rules(&mut self, rules: StaffingRules) {
        self.rules = rules;
        self.simulated.set_times(rules.lead_time, rules.hold);
        self.lateness.promise(rules.promised_s);
    }

    pub fn learned(&self) -> Traffic {
        Traffic {
            capacity: self.capacity.clone(),
            services: self.lateness.services().clone(),
            outcomes: self.simulated.outcomes(),
        }
    }

    /// Goes on with what an earlier run has learned, in place of what this one has.
    pub fn take_up(&mut self, traffic: Traffic) {
        self.capacity = traffic.capacity;
        self.lateness.take_up(traffic.services);
        self.simulated.take_up(&traffic.outcomes);
    }

    /// So many workers are kept at this tick; what is held shrinks only when the next smaller size
    /// has some room, so that it does not follow noise.
    pub fn hold(&mut self, workers: u32) {
        self.held = workers;
    }

    /// Takes in a reading, and how long workers were at the requests that they answered since the one
    /// before; `None` until there are enough to know rate and service time.
    pub fn read(&mut self, reading: Reading, services: &Tally) -> Option<Need> {
        self.rate.push(reading.at, reading.arrivals_total);
        self.capacity.push(&reading);
        self.lateness.learn(services);
        let arrived = reading.arrivals_total.saturating_sub(self.arrivals_total);
        self.arrivals_total = reading.arrivals_total;
        let estimate = self.rate.estimate()?;
        let limit_s = self.rules.service_limit_s;
        let worker = match self.capacity.worker(reading.slots, limit_s) {
            Some(worker) => worker,
            // Of no demand it is known what it needs.
            None if estimate.per_s == 0.0 && reading.waiting + reading.in_flight == 0 => {
                Worker::default()
            }
            None => return None,
        };
        let rule = self.rule(&estimate, worker);
        self.simulated.push(&Sight {
            now: reading.at,
            arrived: arrived as f64,
            rule,
            service_s: worker.service_s,
            drain_s: self.drain_s(),
            lateness: &self.lateness,
        });
        let draining = reading.waiting as f64 * worker.service_s / self.drain_s();
        let need = self.need(&estimate, worker, &rule, draining);
        Some(Need {
            panic: self.panic(&need, reading.serving),
            ..need
        })
    }

    /// What every fleet is sized by now.
    fn rule(&self, estimate: &Estimate, worker: Worker) -> Rule {
        let load = estimate.per_s * worker.service_s;
        Rule {
            load,
            rise: self.rate.rise(self.rules.lead_time) * worker.service_s,
            spare: self.lateness.spare(load, worker.service_s, self.allowed()),
            concurrency: worker.concurrency,
        }
    }

    fn need(&self, estimate: &Estimate, worker: Worker, rule: &Rule, draining: f64) -> Need {
        let margin = self.simulated.margin(estimate.per_s, self.allowed());
        let forecast = rule.workers(margin, 0.0, self.held);
        let load = rule.load(margin);
        let missed = |workers: u32| match load > 0.0 {
            true => {
                let factor = f64::from(workers) * rule.concurrency / load;
                let margin = Margin { factor, ..margin };
                // What comes beyond all slots is refused, however long it was not seen.
                let refused = 1.0 - factor;
                (self.simulated.missed(margin, estimate.per_s)).max(refused)
            }
            false => 0.0,
        };
        let slots = f64::from(forecast) * rule.concurrency;
        Need {
            forecast,
            drain: rule.workers(margin, draining, self.held),
            per_s: estimate.per_s,
            aim: self.allowed(),
            missed: missed(forecast),
            missed_with_fewer: missed(forecast.saturating_sub(1)),
            growth: match rule.load >= rule.concurrency {
                true => (slots / rule.load).max(1.0),
                false => 1.0,
            },
            dispersion: estimate.dispersion,
            service_s: worker.service_s,
            concurrency: worker.concurrency,
            draining,
            ..Need::default()
        }
    }

    /// Share of requests that may miss the promise because they wait.
    fn allowed(&self) -> f64 {
        let misses = self.rules.misses;
        (misses - self.lateness.hopeless()).max(LEAST_ALLOWED * misses)
    }

    /// What waits is worked off within so many seconds.
    fn drain_s(&self) -> f64 {
        self.rules.lead_time.max(self.rules.drain).as_secs_f64()
    }

    /// What the last seconds' arrivals keep busy, when that is twice the fleet (as Knative panics).
    fn panic(&self, need: &Need, serving: u32) -> u32 {
        let burst = self.rate.burst().unwrap_or(0.0);
        let workers = (burst * need.service_s / need.concurrency).ceil();
        match workers >= PANIC * f64::from(serving) {
            true => workers as u32,
            false => 0,
        }
    }
}

/// Even where hardly a request can keep the promise, this part of the misses is left to waiting.
const LEAST_ALLOWED: f64 = 0.05;

/// A burst is met at once when it would keep so many times the fleet busy.
const PANIC: f64 = 2.0;
