//! How many workers demand asks for, one lead time from now.
//!
//! A launch decided now serves a lead time later, so what counts is the demand until then. It is
//! estimated as the rate now, over the longest span that still has the same rate ([`rate`]), times
//! the growth over a lead time that was exceeded too rarely to matter so far ([`growth`]). Slots
//! beyond the busy ones are for chance, by the square root of the load ([`spare`]).
//!
//! Pure as all of this crate: it sees monotone counters, and answers with a number and its terms.

mod caution;
mod growth;
mod rate;
mod spare;

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_line::Moment;

use caution::Caution;
use growth::Growth;
use rate::Rate;

/// What staffing goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StaffingRules {
    /// Requests that a worker takes at once.
    pub slots: u32,
    /// From launch to ready, for nearly all workers.
    pub lead_time: Duration,
    /// Mean time in line, in seconds, that caution settles for.
    pub wait_s: f64,
    /// A worker stays for so many lead times after it was last needed.
    pub hold: f64,
    /// Mean service time in seconds until one is learned.
    pub service_s: f64,
}

/// The counters that a tick reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub at: Moment,
    pub arrivals_total: u64,
    /// Request-seconds in flight since the start.
    pub in_flight_s: f64,
    /// Request-seconds in line since the start.
    pub waiting_s: f64,
    /// Requests in line now.
    pub waiting: u32,
}

/// What a tick came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Need {
    /// Workers to have or to launch, held for the hold time.
    pub workers: u32,
    /// Workers that this tick alone asks for.
    pub asked: u32,
    /// Requests per second now.
    pub per_s: f64,
    /// How cautious staffing is, in standard deviations.
    pub caution: f64,
    /// Factor by which they may have grown a lead time from now.
    pub growth: f64,
    /// Variance of the number of arrivals over its mean.
    pub dispersion: f64,
    /// Mean service time in seconds.
    pub service_s: f64,
    /// Slots that work off what waits by the time that a launch serves.
    pub draining: f64,
}

/// Follows the demand, reading by reading.
#[derive(Clone, Debug)]
pub struct Staffing {
    rules: StaffingRules,
    rate: Rate,
    growth: Growth,
    caution: Caution,
    service: Service,
    asked: VecDeque<(Moment, u32)>,
    held: Option<u32>,
    begun: Option<(Moment, u32)>,
}

impl Staffing {
    pub fn new(rules: StaffingRules) -> Staffing {
        Staffing {
            rules,
            rate: Rate::default(),
            growth: Growth::new(rules.lead_time),
            caution: Caution::new(rules.wait_s),
            service: Service::new(rules.service_s),
            asked: VecDeque::new(),
            held: None,
            begun: None,
        }
    }

    /// So many workers are there at the start. They stay until something is known of the demand.
    pub fn found(&mut self, at: Moment, workers: u32) {
        self.begun = Some((at, workers));
    }

    /// Takes in a reading; `None` until two of them are there to take the difference of.
    pub fn read(&mut self, reading: Reading) -> Option<Need> {
        self.rate.push(reading.at, reading.arrivals_total);
        self.service.push(&reading);
        self.caution.push(&reading);
        let estimate = self.rate.estimate()?;
        self.growth
            .push(reading.at, estimate.per_s, self.caution.deviations);
        let mut need = Need {
            per_s: estimate.per_s,
            caution: self.caution.deviations,
            growth: self.growth.factor(),
            dispersion: estimate.dispersion,
            service_s: self.service.mean_s,
            draining: self.draining(reading.waiting),
            ..Need::default()
        };
        need.asked = self.workers(&need, 1.0);
        need.workers = self.hold(reading.at, &need);
        Some(need)
    }

    fn draining(&self, waiting: u32) -> f64 {
        let within = self.rules.lead_time.max(SHORTEST_DRAIN).as_secs_f64();
        f64::from(waiting) * self.service.mean_s / within
    }

    fn workers(&self, need: &Need, margin: f64) -> u32 {
        let load = need.per_s * need.service_s * margin;
        let grown = load * need.growth;
        let spare = spare::slots(grown, need.dispersion, SPARE_SHARE * need.caution);
        // Chance and growth are independent, so their margins add up as deviations do.
        let slots = load + spare.hypot(grown - load) + need.draining;
        (slots / f64::from(self.rules.slots)).ceil() as u32
    }

    /// The most that was asked for within the hold time. What is held shrinks only when the next
    /// smaller size has some room, so that it does not follow noise.
    fn hold(&mut self, now: Moment, need: &Need) -> u32 {
        let shrunk = self.workers(need, ROOM_TO_SHRINK);
        let kept = match self.held {
            Some(held) if shrunk >= held => held.max(need.asked),
            _ => shrunk.max(need.asked),
        };
        let hold = self
            .rules
            .lead_time
            .mul_f64(self.rules.hold)
            .max(SHORTEST_HOLD);
        let cutoff = now.saturating_sub(hold);
        self.asked.retain(|(at, _)| *at > cutoff);
        while self.asked.back().is_some_and(|(_, asked)| *asked <= kept) {
            self.asked.pop_back();
        }
        self.asked.push_back((now, kept));
        let kept = match self.begun {
            Some((at, found)) if now < at + FIRST_LOOK => kept.max(found),
            _ => kept,
        };
        let most = self
            .asked
            .front()
            .map_or(kept, |(_, asked)| kept.max(*asked));
        self.held = Some(most);
        most
    }
}

/// How long what was found at the start is kept.
const FIRST_LOOK: Duration = Duration::from_secs(600);

/// Standard deviations of busy slots that are kept spare for each of caution.
const SPARE_SHARE: f64 = 0.6;

/// The line need not be worked off any sooner.
const SHORTEST_DRAIN: Duration = Duration::from_secs(20);

/// Demand may be so much more before a worker fewer would be too few.
const ROOM_TO_SHRINK: f64 = 1.06;

/// A worker is billed for a minute anyway.
const SHORTEST_HOLD: Duration = Duration::from_secs(120);

/// The mean service time, by Little's law: requests in flight over arrivals.
#[derive(Clone, Debug)]
struct Service {
    mean_s: f64,
    last: Option<Reading>,
}

/// Requests after which half of the mean is theirs.
const SERVICE_MEMORY: f64 = 5000.0;

impl Service {
    fn new(mean_s: f64) -> Service {
        Service { mean_s, last: None }
    }

    fn push(&mut self, reading: &Reading) {
        let Some(last) = self.last.replace(*reading) else {
            return;
        };
        let arrivals = (reading.arrivals_total - last.arrivals_total) as f64;
        let in_flight_s = reading.in_flight_s - last.in_flight_s;
        let kept = SERVICE_MEMORY / (SERVICE_MEMORY + arrivals);
        self.mean_s = self.mean_s * kept + in_flight_s / SERVICE_MEMORY * kept;
    }
}
