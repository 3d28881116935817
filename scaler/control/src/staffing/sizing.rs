//! The number of workers at which slots and misses together cost least.

use super::Need;
use super::ceiling::Ceiling;
use super::growth::Growth;
use super::strain::Strain;

/// Standard deviations of busy slots that are kept spare at most.
const MOST_DEVIATIONS: f64 = 1.5;

/// Sizes of the fleet that are compared.
const SIZES: u32 = 128;

/// What sizes are judged by.
pub(super) struct Sizing<'a> {
    pub need: &'a Need,
    /// Requests that a miss is worth.
    pub price: f64,
    pub strain: &'a Strain,
    pub growth: &'a Growth,
    pub ceiling: &'a Ceiling,
}

impl Sizing<'_> {
    /// The cheapest size when the demand is `margin` times what it seems to be, and `draining` slots
    /// work off what waits.
    pub fn workers(&self, margin: f64, draining: f64) -> u32 {
        let load = self.need.load() * margin;
        if load <= 0.0 {
            return (draining / self.need.concurrency).ceil() as u32;
        }
        let grown = load * self.ceiling.factor();
        let peakedness = (1.0 + self.need.dispersion) / 2.0;
        let spare = MOST_DEVIATIONS * (grown * peakedness).sqrt();
        // No larger fleet is tried. Chance and growth are independent, so their margins add up as
        // deviations do.
        let most = load + spare.hypot(grown - load);
        let workers = |slots: f64| ((slots + draining) / self.need.concurrency).ceil();
        let (least, most) = (workers(load), workers(most));
        let step = ((most - least) / f64::from(SIZES)).ceil().max(1.0);
        let cost = |workers: f64| {
            let slots = workers * self.need.concurrency - draining;
            slots / load + self.price * self.missed(load, slots)
        };
        let sizes = (0..=SIZES).map(|index| least + f64::from(index) * step);
        let sizes = sizes.take_while(|workers| *workers <= most);
        let priced = sizes.map(|workers| (cost(workers), workers));
        let cheapest = priced.min_by(|a, b| a.0.total_cmp(&b.0));
        cheapest.map_or(least, |(_, workers)| workers) as u32
    }

    /// Share of requests that will miss the promise because they wait, with so many workers a lead time
    /// from now; 0 without a load.
    pub fn missed_by(&self, workers: u32) -> f64 {
        let slots = f64::from(workers) * self.need.concurrency;
        match self.need.load() > 0.0 {
            true => self.missed(self.need.load(), slots).min(1.0),
            false => 0.0,
        }
    }

    /// The same, with so many slots.
    fn missed(&self, load: f64, slots: f64) -> f64 {
        // Poisson arrivals: bursts beyond those are in the lines of the imagined fleets.
        let peakedness = (1.0 + self.strain.variation()) / 2.0;
        let steady = (self.strain).steady(load, slots, self.need.service_s, peakedness);
        steady + self.growth.missed(slots / load)
    }
}
