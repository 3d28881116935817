//! How many workers demand asks for, one lead time from now.
//!
//! A launch decided now serves a lead time later, so what counts is the demand until then. It is
//! estimated as the rate now, over the longest span that still has the same rate ([`rate`]), times
//! the growth over a lead time that was exceeded too rarely to matter so far ([`growth`]). Slots
//! beyond the busy ones are for chance, by the square root of the load ([`spare`]). What a worker
//! can do is learned ([`capacity`]), and so is how cautious to be ([`caution`]).
//!
//! Pure as all of this crate: it sees monotone counters, and answers with a number and its terms.

mod capacity;
mod caution;
mod growth;
mod rate;
mod spare;

use std::time::Duration;

use tidegate_line::Moment;

use capacity::Capacity;
use caution::Caution;
use growth::Growth;
use rate::Rate;

/// What staffing goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaffingRules {
    /// From launch to ready, for nearly all workers.
    pub lead_time: Duration,
    /// Mean time in line, in seconds, that caution settles for.
    pub wait_s: f64,
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
    /// Time that requests were in line.
    pub waiting_s: f64,
    /// Requests in line now.
    pub waiting: u64,
    /// Requests at workers now.
    pub in_flight: u64,
    /// Workers that serve.
    pub serving: u32,
    /// Requests that one takes at once.
    pub slots: u32,
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
    /// How cautious staffing is, in standard deviations.
    pub caution: f64,
    /// Factor by which they may have grown a lead time from now.
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
    caution: Caution,
    capacity: Capacity,
    held: u32,
}

impl Staffing {
    pub fn new(rules: StaffingRules) -> Staffing {
        Staffing {
            rules,
            rate: Rate::default(),
            growth: Growth::new(rules.lead_time),
            caution: Caution::new(rules.wait_s),
            capacity: Capacity::default(),
            held: 0,
        }
    }

    /// Goes on by other rules, with all that was learned.
    pub fn set_rules(&mut self, rules: StaffingRules) {
        self.rules = rules;
        self.growth.set_lead_time(rules.lead_time);
        self.caution.set_wait(rules.wait_s);
    }

    /// So many workers are kept at this tick; what is held shrinks only when the next smaller size
    /// has some room, so that it does not follow noise.
    pub fn hold(&mut self, workers: u32) {
        self.held = workers;
    }

    /// Takes in a reading; `None` until there are enough to know rate and service time.
    pub fn read(&mut self, reading: Reading) -> Option<Need> {
        self.rate.push(reading.at, reading.arrivals_total);
        self.capacity.push(&reading);
        self.caution.push(&reading);
        let estimate = self.rate.estimate()?;
        self.growth
            .push(reading.at, estimate.per_s, self.caution.deviations);
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
            caution: self.caution.deviations,
            growth: self.growth.factor(),
            dispersion: estimate.dispersion,
            service_s: worker.service_s,
            concurrency: worker.concurrency,
            draining: self.draining(reading.waiting, worker.service_s),
            ..Need::default()
        };
        need.forecast = self.kept(|margin| need.workers(margin, 0.0));
        need.drain = self.kept(|margin| need.workers(margin, need.draining));
        need.panic = self.panic(&need, reading.serving);
        Some(need)
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
    fn kept(&self, workers: impl Fn(f64) -> u32) -> u32 {
        let (asked, roomy) = (workers(1.0), workers(ROOM_TO_SHRINK));
        match roomy < self.held {
            true => roomy,
            false => self.held.max(asked),
        }
    }
}

impl Need {
    fn workers(&self, margin: f64, draining: f64) -> u32 {
        let load = self.load() * margin;
        let grown = load * self.growth;
        let spare = spare::slots(grown, self.dispersion, SPARE_SHARE * self.caution);
        // Chance and growth are independent, so their margins add up as deviations do.
        let slots = load + spare.hypot(grown - load) + draining;
        (slots / self.concurrency).ceil() as u32
    }
}

/// Standard deviations of busy slots that are kept spare for each of caution.
const SPARE_SHARE: f64 = 0.6;

/// A burst is met at once when it would keep so many times the fleet busy.
const PANIC: f64 = 2.0;

/// Demand may be so much more before a worker fewer would be too few.
const ROOM_TO_SHRINK: f64 = 1.06;
