//! How many workers demand asks for, one lead time from now.
//!
//! A launch decided now serves a lead time later. So workers are bought for as long as one more
//! saves enough requests from missing the promise because they wait ([`sizing`], [`strain`]): by
//! chance with the rate now, over the longest span that still has the same rate ([`rate`]), and by
//! what the traffic did within a lead time so far ([`growth`]); but none for growth that was not seen
//! from such a rate ([`ceiling`]). What a worker can do is learned ([`capacity`]), and so is what a
//! miss is worth ([`caution`]).
//!
//! Pure as all of this crate: it sees monotone counters, and answers with a number and its terms.

mod capacity;
mod caution;
mod ceiling;
mod growth;
mod rate;
mod sizing;
mod strain;

use std::time::Duration;

use tidegate_queue::Moment;

use capacity::Capacity;
use caution::Caution;
use ceiling::Ceiling;
use growth::{Growth, Sight};
use rate::{Estimate, Rate};
use sizing::Sizing;
use strain::Strain;

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

/// Requests that came to an end since the reading before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// How long workers were at those that they answered.
    pub service: Tally,
    /// How long those were in line whose wait is over.
    pub waits: Tally,
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
    growth: Growth,
    ceiling: Ceiling,
    strain: Strain,
    caution: Caution,
    capacity: Capacity,
    last: Moment,
    arrivals_total: u64,
    held: u32,
}

impl Staffing {
    pub fn new(rules: StaffingRules) -> Staffing {
        Staffing {
            rules,
            rate: Rate::default(),
            growth: Growth::new(rules.lead_time, rules.hold),
            ceiling: Ceiling::new(rules.lead_time),
            strain: Strain::new(rules.promised_s),
            caution: Caution::default(),
            capacity: Capacity::default(),
            last: Moment::MAX,
            arrivals_total: 0,
            held: 0,
        }
    }

    /// Goes on by other rules, with all that was learned.
    pub fn set_rules(&mut self, rules: StaffingRules) {
        self.rules = rules;
        self.growth.set_times(rules.lead_time, rules.hold);
        self.ceiling.set_lead_time(rules.lead_time);
        self.strain.promise(rules.promised_s);
    }

    /// So many workers are kept at this tick; what is held shrinks only when the next smaller size
    /// has some room, so that it does not follow noise.
    pub fn hold(&mut self, workers: u32) {
        self.held = workers;
    }

    /// Takes in a reading; `None` until there are enough to know rate and service time.
    pub fn read(&mut self, reading: Reading, ended: &Ended) -> Option<Need> {
        self.rate.push(reading.at, reading.arrivals_total);
        self.capacity.push(&reading);
        self.strain.learn(&ended.service);
        self.look_back(reading.at, &ended.waits);
        let arrived = reading.arrivals_total.saturating_sub(self.arrivals_total);
        self.arrivals_total = reading.arrivals_total;
        let estimate = self.rate.estimate()?;
        self.look_ahead(reading.at, arrived as f64, &estimate);
        let limit_s = self.rules.service_limit_s;
        let worker = match self.capacity.worker(reading.slots, limit_s) {
            Some(worker) => worker,
            // Of no demand it is known what it needs.
            None if estimate.per_s == 0.0 && reading.waiting + reading.in_flight == 0 => {
                capacity::Worker::default()
            }
            None => return None,
        };
        let mut need = Need {
            per_s: estimate.per_s,
            aim: self.aim(),
            growth: 1.0,
            dispersion: estimate.dispersion,
            service_s: worker.service_s,
            concurrency: worker.concurrency,
            draining: self.draining(reading.waiting, worker.service_s),
            ..Need::default()
        };
        need.forecast = self.kept(&need, 0.0);
        let missed = |workers| self.sizing(&need).missed_by(workers);
        let fewer = need.forecast.saturating_sub(1);
        (need.missed, need.missed_with_fewer) = (missed(need.forecast), missed(fewer));
        need.drain = match need.draining > 0.0 {
            true => self.kept(&need, need.draining),
            false => need.forecast,
        };
        need.panic = self.panic(&need, reading.serving);
        if need.load() >= need.concurrency {
            let slots = f64::from(need.forecast) * need.concurrency;
            need.growth = (slots / need.load()).max(1.0);
        }
        Some(need)
    }

    /// Learns what the rate does within a lead time.
    fn look_ahead(&mut self, now: Moment, arrived: f64, estimate: &Estimate) {
        self.growth.push(&Sight {
            now,
            arrived,
            per_s: estimate.per_s,
            strain: &self.strain,
        });
        self.ceiling.push(now, estimate.per_s, self.rules.misses);
    }

    /// Learns from what waiting cost since the reading before.
    fn look_back(&mut self, now: Moment, waits: &Tally) {
        let seconds = now.saturating_sub(self.last).as_secs_f64();
        self.last = now;
        let (missed, requests) = (self.strain.missed(waits), waits.count() as f64);
        let allowed = self.allowed();
        self.caution.push(seconds, missed, requests, allowed);
    }

    /// Share of requests that may miss the promise because they wait.
    fn allowed(&self) -> f64 {
        let misses = self.rules.misses;
        (misses - self.strain.hopeless()).max(LEAST_ALLOWED * misses)
    }

    /// Share of requests that is to miss the promise because they wait.
    fn aim(&self) -> f64 {
        self.allowed() * self.caution.aim()
    }

    /// Requests that a miss is worth.
    fn price(&self) -> f64 {
        WORTH / self.aim()
    }

    fn draining(&self, waiting: u64, service_s: f64) -> f64 {
        let within = self.rules.lead_time.max(self.rules.drain).as_secs_f64();
        waiting as f64 * service_s / within
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

    fn sizing<'a>(&'a self, need: &'a Need) -> Sizing<'a> {
        Sizing {
            need,
            price: self.price(),
            strain: &self.strain,
            growth: &self.growth,
            ceiling: &self.ceiling,
        }
    }

    /// What is asked for, unless fewer would do only just.
    fn kept(&self, need: &Need, draining: f64) -> u32 {
        let sizing = self.sizing(need);
        let asked = sizing.workers(1.0, draining);
        if asked >= self.held {
            return asked;
        }
        (sizing.workers(ROOM_TO_SHRINK, draining)).clamp(asked, self.held)
    }
}

/// Even where hardly a request can keep the promise, this part of the misses is left to waiting.
const LEAST_ALLOWED: f64 = 0.05;

/// As many misses as are aimed at are worth so many slots, as a share of the load.
const WORTH: f64 = 0.1;

/// Demand may be so much more before a worker fewer would be too few.
const ROOM_TO_SHRINK: f64 = 1.06;

/// A burst is met at once when it would keep so many times the fleet busy.
const PANIC: f64 = 2.0;
