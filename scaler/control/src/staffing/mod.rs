//! How many workers demand asks for, one lead time from now.
//!
//! A launch decided now serves a lead time later. So workers are bought for as long as one more
//! saves enough requests from missing the promise because they wait ([`strain`]): by chance with the
//! rate now, over the longest span that still has the same rate ([`rate`]), and by what the traffic
//! did within a lead time so far ([`growth`]); but none for growth that was not seen from such a rate
//! ([`ceiling`]). What a worker can do is learned ([`capacity`]), and so is what a miss is worth
//! ([`caution`]).
//!
//! Pure as all of this crate: it sees monotone counters, and answers with a number and its terms.

mod capacity;
mod caution;
mod ceiling;
mod growth;
mod rate;
mod strain;

use std::time::Duration;

use tidegate_line::Moment;

use capacity::Capacity;
use caution::Caution;
use ceiling::Ceiling;
use growth::Growth;
use rate::{Estimate, Rate};
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
    /// Share of requests that may miss the promise because they wait.
    pub allowed: f64,
    /// Slots that the forecast asks for over those that are busy now.
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
        self.growth.set_lead_time(rules.lead_time);
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
        let Some(estimate) = self.rate.estimate() else {
            self.arrivals_total = reading.arrivals_total;
            return None;
        };
        let arrived = reading.arrivals_total.saturating_sub(self.arrivals_total) as f64;
        self.arrivals_total = reading.arrivals_total;
        self.growth
            .push(reading.at, arrived, &estimate, &self.strain);
        self.ceiling.push(reading.at, estimate.per_s);
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
            allowed: self.allowed() * self.caution.aim(),
            dispersion: estimate.dispersion,
            service_s: worker.service_s,
            concurrency: worker.concurrency,
            draining: self.draining(reading.waiting, worker.service_s),
            ..Need::default()
        };
        need.forecast = self.kept(&need, &estimate, 0.0);
        need.drain = match need.draining > 0.0 {
            true => self.kept(&need, &estimate, need.draining),
            false => need.forecast,
        };
        need.panic = self.panic(&need, reading.serving);
        if need.load() > 0.0 {
            let slots = f64::from(need.forecast) * need.concurrency;
            need.growth = (slots / need.load()).max(1.0);
        }
        Some(need)
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

    /// What is asked for, unless fewer would do only just.
    fn kept(&self, need: &Need, estimate: &Estimate, draining: f64) -> u32 {
        let workers = |margin: f64| self.workers(need, margin, draining) as u32;
        let asked = workers(1.0);
        if asked >= self.held {
            return asked;
        }
        let roomy = workers(1.0 + (ROOM_ERRORS * estimate.error).clamp(LEAST_ROOM, MOST_ROOM));
        roomy.clamp(asked, self.held)
    }

    /// The number of workers at which slots and misses together cost least, when the demand is
    /// `margin` times what it seems to be and so many slots work off what waits.
    fn workers(&self, need: &Need, margin: f64, draining: f64) -> f64 {
        let load = need.load() * margin;
        if load <= 0.0 {
            return 0.0;
        }
        let grown = load * self.ceiling.factor();
        let peakedness = (1.0 + need.dispersion) / 2.0;
        let spare = MOST_DEVIATIONS * (grown * peakedness).sqrt();
        // Chance and growth are independent, so their margins add up as deviations do.
        let most = load + spare.hypot(grown - load);
        let workers = |slots: f64| ((slots + draining) / need.concurrency).ceil();
        let (least, most) = (workers(load), workers(most));
        let step = ((most - least) / SIZES).ceil().max(1.0);
        let price = WORTH / need.allowed;
        let cost = |workers: f64| {
            let slots = workers * need.concurrency - draining;
            slots / load + price * self.strained(need, load, slots)
        };
        let sizes = (0..=SIZES as u32).map(|index| (least + f64::from(index) * step).min(most));
        let priced = sizes.map(|workers| (cost(workers), workers));
        let cheapest = priced.min_by(|a, b| a.0.total_cmp(&b.0));
        cheapest.map_or(least, |(_, workers)| workers)
    }

    /// Share of requests that will miss the promise because they wait, with so many slots a lead
    /// time from now.
    fn strained(&self, need: &Need, load: f64, slots: f64) -> f64 {
        // Poisson arrivals: bursts beyond those are in the lines of the imagined fleets.
        let peakedness = (1.0 + self.strain.variation()) / 2.0;
        let steady = self.strain.steady(load, slots, need.service_s, peakedness);
        steady + self.growth.missed(slots / load)
    }
}

/// Even where hardly a request can keep the promise, this part of the misses is left to waiting.
const LEAST_ALLOWED: f64 = 0.05;

/// As many misses as are aimed at are worth so many slots, as a share of the load.
const WORTH: f64 = 0.04;

/// Standard deviations of busy slots that are kept spare at most.
const MOST_DEVIATIONS: f64 = 1.5;

/// Sizes of the fleet that are compared.
const SIZES: f64 = 128.0;

/// A worker fewer has to do for a rate that is so many standard errors higher,
const ROOM_ERRORS: f64 = 2.0;

/// but at least for this, and at most.
const LEAST_ROOM: f64 = 0.04;
const MOST_ROOM: f64 = 0.06;

/// A burst is met at once when it would keep so many times the fleet busy.
const PANIC: f64 = 2.0;
