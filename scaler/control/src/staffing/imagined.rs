//! What staffing by a forecast would have come to with each margin over it.
//!
//! What a worker more or less does shows a lead time later. So beside the real fleet, imagined ones
//! are run on the real arrivals, each as large as the forecast of a lead time ago times a margin of
//! its own. What their lines come to is what that margin would have cost: growth, bursts, noise and
//! the time that a change takes to be seen are all in it, as long or short as they were, and no
//! model of the demand is needed.

use super::strain::Strain;

/// Margins are even steps of their logarithm, from none to [`MOST`].
const STEPS: usize = 48;

/// One for each margin.
pub(super) type ByMargin = [f64; STEPS + 1];

/// Headroom beyond this is not bought; such bursts are for the line.
pub(super) const MOST: f64 = 4.0;

/// Where the largest fleet's wait costs this share of requests, none is judged by it.
const LOST: f64 = 0.2;

/// What happened counts half after six hours.
const HALF_LIFE_S: f64 = 6.0 * 3600.0;

/// A fleet that is only imagined.
#[derive(Clone, Copy, Debug, Default)]
struct Fleet {
    /// Requests in its line.
    waiting: f64,
    /// Requests that missed the promise for having waited.
    missed: f64,
}

/// Fleets of all margins, staffed by one forecast.
#[derive(Clone, Debug)]
pub(super) struct Imagined {
    fleets: [Fleet; STEPS + 1],
    requests: f64,
    /// Share of requests that misses with each margin.
    shares: ByMargin,
    /// The margin that would be bought.
    bought: usize,
}

/// A stretch of time: what came in it, and at what rate the forecast would have it served.
pub(super) struct Stretch {
    pub seconds: f64,
    pub arrived: f64,
    pub staffed_per_s: f64,
}

impl Default for Imagined {
    fn default() -> Self {
        Imagined {
            fleets: [Fleet::default(); STEPS + 1],
            requests: 0.0,
            shares: [1.0; STEPS + 1],
            bought: 0,
        }
    }
}

impl Imagined {
    /// Lets every fleet work for so long; what the one with the margin that would have been bought
    /// costs, in requests: its slots, and `price` for each miss. What the largest fleet does not save
    /// either is held against none: it says nothing about margins, and such a burst seldom comes again.
    pub fn work(&mut self, stretch: &Stretch, price: f64, strain: &Strain) -> f64 {
        let Stretch {
            seconds,
            arrived,
            staffed_per_s,
        } = *stretch;
        let left = left(seconds, HALF_LIFE_S);
        self.requests = self.requests * left + arrived;
        let mut charged = [0.0; STEPS + 1];
        let mut cost = 0.0;
        for (step, fleet) in self.fleets.iter_mut().enumerate() {
            let per_s = staffed_per_s * margin(step);
            let waiting = (fleet.waiting + arrived - per_s * seconds).max(0.0);
            // What waits longer is given up.
            fleet.waiting = waiting.min(per_s * strain.promised_s());
            cost = strain.cost(fleet.waiting / per_s.max(f64::MIN_POSITIVE));
            charged[step] = arrived * cost;
        }
        let counts = f64::from(u8::from(cost <= LOST));
        for (fleet, charged) in self.fleets.iter_mut().zip(charged) {
            fleet.missed = fleet.missed * left + counts * charged;
        }
        let slots = margin(self.bought) * staffed_per_s * seconds;
        slots + price * counts * charged[self.bought]
    }

    /// Nobody worked: what the lines would be is not known.
    pub fn pause(&mut self) {
        self.fleets.iter_mut().for_each(|fleet| fleet.waiting = 0.0);
    }

    /// Judges each margin by what it came to, and by `prior` as if that had been seen with so many
    /// requests.
    pub fn judge(&mut self, prior: &ByMargin, requests: f64, price: f64) {
        let all = (self.requests + requests).max(f64::MIN_POSITIVE);
        for (step, fleet) in self.fleets.iter().enumerate() {
            self.shares[step] = ((fleet.missed + requests * prior[step]) / all).min(1.0);
        }
        let costs = (0..=STEPS).map(|step| (step, margin(step) + price * self.shares[step]));
        let cheapest = costs.min_by(|a, b| a.1.total_cmp(&b.1));
        self.bought = cheapest.map_or(0, |(step, _)| step);
    }

    /// Share of requests that would miss the promise, for waiting, on a fleet `margin` times as
    /// large as the forecast asks for.
    pub fn missed(&self, margin: f64) -> f64 {
        let at = margin.max(1.0).ln() / MOST.ln() * STEPS as f64;
        let step = (at as usize).min(STEPS);
        match self.shares.get(step + 1) {
            Some(next) => self.shares[step] + (next - self.shares[step]) * (at - step as f64),
            None => self.shares[STEPS],
        }
    }
}

/// What a value of each margin is.
pub(super) fn by_margin(value: impl Fn(f64) -> f64) -> ByMargin {
    std::array::from_fn(|step| value(margin(step)))
}

fn margin(step: usize) -> f64 {
    MOST.powf(step as f64 / STEPS as f64)
}

/// What this time leaves of a memory.
pub(super) fn left(seconds: f64, half_life_s: f64) -> f64 {
    (-seconds * std::f64::consts::LN_2 / half_life_s).exp()
}
