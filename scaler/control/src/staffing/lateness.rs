//! Which share of requests misses the promise because it waits.
//!
//! A request that waits `w` and is then served for `S` misses a promised time `T` when
//! `S > T - w`. Those with `S > T` miss it on any fleet; the rest of `P(S > T - w)` is what waiting
//! costs, and what more workers would save. Short waits cost little and long ones nearly everything,
//! so it is this curve that staffing has to know, and not the mean wait.

use serde::{Deserialize, Serialize};

use crate::Tally;
use crate::chance::normal_tail;

/// Requests after which half of what is known of service times is theirs.
const MEMORY: f64 = 200_000.0;

/// Requests that a log-normal distribution of the same mean and variation is worth before any; when so
/// many are known it is worth half.
const FITTED: f64 = 3000.0;

/// The curve is drawn again when so many times the requests are known.
const REDRAWN: f64 = 1.02;

/// No distribution is taken of fewer requests.
const FEWEST: f64 = 20.0;

/// Waits that the curve is known for: so many even steps up to the promised time.
const STEPS: usize = 40;

/// What a wait costs while service times are not known, by its share of the promised time.
const UNKNOWN: fn(f64) -> f64 = |share| share * share;

/// A fleet this close to its load, in slots, comes to no steady state in any time that matters; one that
/// is closer is taken to be so far from it.
const NEAREST_SLOTS: f64 = 0.5;

/// Standard deviations of busy slots that are kept spare at most.
const MOST_DEVIATIONS: f64 = 1.5;

/// How often the interval is halved that the spare slots are looked for in.
const HALVINGS: usize = 10;

/// What a wait costs, and what it is known from.
#[derive(Clone, Debug)]
pub(super) struct Lateness {
    promised_s: f64,
    services: Services,
    /// Requests that were known when the curve was drawn.
    drawn: f64,
    /// Share of requests that a wait of `i` steps costs.
    costs: [f64; STEPS + 1],
    /// Share that misses without any wait.
    hopeless: f64,
}

/// The service times that were seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Services {
    counts: Tally,
    known: Known,
}

/// Moments of the service times, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Known {
    requests: f64,
    sum: f64,
    squares: f64,
}

impl Known {
    fn mean(&self) -> f64 {
        self.sum / self.requests
    }

    /// Squared coefficient of variation.
    fn variation(&self) -> f64 {
        let mean = self.mean();
        (self.squares / self.requests / (mean * mean) - 1.0).max(0.0)
    }

    /// That a request takes longer, by a log-normal distribution with these moments.
    fn longer(&self, seconds: f64) -> f64 {
        let variance = self.variation().ln_1p();
        let mean = self.mean().ln() - variance / 2.0;
        match (seconds > 0.0, variance > 0.0) {
            (false, _) => 1.0,
            (true, true) => normal_tail((seconds.ln() - mean) / variance.sqrt()),
            (true, false) => f64::from(u8::from(mean > seconds.ln())),
        }
    }
}

impl Lateness {
    pub fn new(promised_s: f64) -> Lateness {
        Lateness {
            promised_s,
            services: Services::default(),
            drawn: 0.0,
            costs: std::array::from_fn(|step| UNKNOWN(step as f64 / STEPS as f64)),
            hopeless: 0.0,
        }
    }

    pub fn promise(&mut self, promised_s: f64) {
        if promised_s != self.promised_s {
            self.promised_s = promised_s;
            self.draw();
        }
    }

    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Goes on with the service times that an earlier run has seen.
    pub fn take_up(&mut self, services: Services) {
        self.services = services;
        self.draw();
    }

    /// Takes in how long workers were at the requests that they answered since the last call.
    pub fn learn(&mut self, service: &Tally) {
        if service.count() == 0 {
            return;
        }
        for (lower_ms, upper_ms, count) in service.spans() {
            let (seconds, count) = ((lower_ms + upper_ms) / 2000.0, count as f64);
            self.services.known.requests += count;
            self.services.known.sum += count * seconds;
            self.services.known.squares += count * seconds * seconds;
        }
        self.services.counts.add(service);
        if self.services.counts.count() as f64 >= MEMORY {
            self.services.counts.halve();
            let Known {
                requests,
                sum,
                squares,
            } = &mut self.services.known;
            [requests, sum, squares].into_iter().for_each(|v| *v /= 2.0);
            self.drawn /= 2.0;
        }
        if self.services.known.requests >= self.drawn * REDRAWN {
            self.draw();
        }
    }

    fn draw(&mut self) {
        if self.services.known.requests < FEWEST {
            return;
        }
        self.drawn = self.services.known.requests;
        let step_s = self.promised_s / STEPS as f64;
        let left_s = |step: usize| self.promised_s - step as f64 * step_s;
        self.hopeless = self.longer(self.promised_s);
        self.costs =
            std::array::from_fn(|step| (self.longer(left_s(step)) - self.hopeless).max(0.0));
    }

    /// That a request takes a worker longer.
    fn longer(&self, seconds: f64) -> f64 {
        let ms = seconds * 1000.0;
        let counted: f64 = (self.services.counts.spans())
            .map(|(lower, upper, count)| {
                count as f64 * ((upper - ms) / (upper - lower)).clamp(0.0, 1.0)
            })
            .sum();
        let requests = self.services.counts.count() as f64;
        let weight = FITTED * FITTED / (FITTED + requests);
        (counted + self.services.known.longer(seconds) * weight) / (requests + weight)
    }

    /// Share of requests that miss the promise whatever the fleet.
    pub fn hopeless(&self) -> f64 {
        self.hopeless
    }

    /// Squared coefficient of variation of service times.
    pub fn variation(&self) -> f64 {
        match self.services.known.requests >= FEWEST {
            true => self.services.known.variation(),
            false => 1.0,
        }
    }

    pub fn promised_s(&self) -> f64 {
        self.promised_s
    }

    /// Share of requests that a wait of this length costs.
    pub fn cost(&self, wait_s: f64) -> f64 {
        let at = wait_s / self.promised_s * STEPS as f64;
        let step = (at as usize).min(STEPS);
        match self.costs.get(step + 1) {
            Some(next) => self.costs[step] + (next - self.costs[step]) * (at - step as f64),
            None => self.costs[STEPS],
        }
    }

    /// Slots over the `load` at which a steady load makes no more than this share miss the promise.
    pub fn spare(&self, load: f64, service_s: f64, allowed: f64) -> f64 {
        // Poisson arrivals: what is burstier, simulated fleets see.
        let peakedness = (1.0 + self.variation()) / 2.0;
        let is_enough =
            |spare: f64| self.steady(load, load + spare, service_s, peakedness) <= allowed;
        let (mut low, mut high) = (0.0, MOST_DEVIATIONS * (load * peakedness).sqrt());
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            match is_enough(middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        high
    }

    /// Share of requests that wait costs with a steady `load` on so many `slots`, by the
    /// approximations of Halfin and Whitt (1981) for the chance to wait and of Kingman for how
    /// long. `peakedness` is the mean of the squared variations of arrivals and services.
    fn steady(&self, load: f64, slots: f64, service_s: f64, peakedness: f64) -> f64 {
        if load <= 0.0 {
            return 0.0;
        }
        let spare = (slots - load).max(NEAREST_SLOTS);
        let beta = spare / (load * peakedness).sqrt();
        let density = (-beta * beta / 2.0).exp() / std::f64::consts::TAU.sqrt();
        let waits = 1.0 / (1.0 + beta * (1.0 - normal_tail(beta)) / density.max(f64::MIN_POSITIVE));
        let step_s = self.promised_s / STEPS as f64;
        let stays = (-spare / (service_s * peakedness) * step_s).exp();
        let (mut longer, mut cost) = (1.0, 0.0);
        for pair in self.costs.windows(2) {
            cost += longer * (1.0 - stays) * (pair[0] + pair[1]) / 2.0;
            longer *= stays;
        }
        waits * (cost + longer * self.costs[STEPS])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_protocol::Histogram;

    use super::*;
    use crate::chance::Chance;

    /// A promise of ten seconds, and log-normal services of two with a variation of one.
    fn learned() -> Lateness {
        let (mut chance, mut histogram) = (Chance::new(1, "lateness"), Histogram::default());
        for _ in 0..100_000 {
            let seconds = (0.346_57 + 0.832_55 * chance.normal()).exp();
            histogram.record(Duration::from_secs_f64(seconds));
        }
        let mut lateness = Lateness::new(10.0);
        lateness.learn(&Tally::from(&histogram));
        lateness
    }

    #[test]
    fn a_wait_costs_what_the_services_that_are_too_long_after_it_make() {
        let lateness = learned();
        assert!(
            (lateness.hopeless() - 0.0093).abs() < 0.001,
            "{}",
            lateness.hopeless()
        );
        // P(S > 5) = 6.5 %, P(S > 9) = 1.3 %.
        assert!(
            (lateness.cost(5.0) - 0.056).abs() < 0.004,
            "{}",
            lateness.cost(5.0)
        );
        assert!(
            (lateness.cost(1.0) - 0.0038).abs() < 0.001,
            "{}",
            lateness.cost(1.0)
        );
        assert!(
            (lateness.cost(60.0) - 0.99).abs() < 0.01,
            "{}",
            lateness.cost(60.0)
        );
    }

    #[test]
    fn more_slots_cost_fewer_misses() {
        let lateness = learned();
        let steady = |slots: f64| lateness.steady(80.0, slots, 2.0, 1.0);
        assert!(steady(82.0) > 3.0 * steady(86.0) && steady(86.0) > 3.0 * steady(96.0));
        // Erlang's formula: mean wait 0.11 s on 86 slots.
        assert!((0.0002..0.0008).contains(&steady(86.0)), "{}", steady(86.0));
    }
}
