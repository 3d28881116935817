//! The cheapest way through (workers, backlog), bucket by bucket, backwards in time.

use crate::sim::Scenario;

use super::work::Work;

/// Prices tried in the search for the best; each costs one pass over all buckets.
const PRICES: usize = 10;

/// A fleet at its most can have workers beyond that which still drain. From so many on, capacity
/// is taken to be unlimited.
const DRAINING: u32 = 10;

/// Golden section.
const SECTION: f64 = 0.618_033_988_749_895;

/// Work is in whole units of what a worker does in a bucket; costs are in worker-seconds.
#[derive(Clone, Debug)]
pub(super) struct Program {
    bucket_s: f64,
    unit_s: f64,
    launch_s: f64,
    most: u32,
    /// Most units that can be done by the end of each bucket, the begin of the first in front.
    earliest: Vec<i64>,
    /// How far behind that the work may be at the same times.
    slack: Vec<i64>,
}

/// The cost to go of every state: a row of backlogs for each number of workers.
struct Costs {
    width: usize,
    by_state: Vec<f64>,
}

impl Program {
    pub fn new(scenario: &Scenario, work: &Work, launch_s: f64) -> Program {
        let unit_s = work.bucket_s * f64::from(scenario.slots);
        let units = |slot_seconds: &f64| (slot_seconds / unit_s).ceil() as i64;
        // One more because dropped work is rounded up too.
        let earliest = || work.earliest.iter().map(|work| units(work) + 1);
        let latest = work.latest.iter().map(units);
        let slack = earliest()
            .zip(latest)
            .map(|(most, least)| (most - least).max(0));
        Program {
            bucket_s: work.bucket_s,
            unit_s,
            launch_s,
            most: scenario.max_workers + DRAINING,
            slack: [1].into_iter().chain(slack).collect(),
            earliest: [1].into_iter().chain(earliest()).collect(),
        }
    }

    /// The largest bound over all prices, in worker-seconds, when this many slot-seconds may be
    /// dropped. The bound is concave in the price, so a golden-section search closes in on it.
    pub fn bound_s(&self, droppable_s: f64, first: u32) -> f64 {
        let units = droppable_s / self.unit_s + 1.0;
        let bound = |price: f64| {
            let cheapest = self.cheapest_s(price, first);
            cheapest - price * units - self.bucket_s * f64::from(first)
        };
        let (mut low, mut high) = (0.0, self.launch_s + 2.0 * self.bucket_s);
        let at = |low: f64, high: f64, share: f64| low + (high - low) * share;
        let mut left = at(low, high, 1.0 - SECTION);
        let mut right = at(low, high, SECTION);
        let (mut at_left, mut at_right) = (bound(left), bound(right));
        let mut best = bound(high).max(at_left).max(at_right);
        for _ in 3..PRICES {
            if at_left < at_right {
                (low, left, at_left) = (left, right, at_right);
                right = at(low, high, SECTION);
                at_right = bound(right);
                best = best.max(at_right);
            } else {
                (high, right, at_right) = (right, left, at_left);
                left = at(low, high, 1.0 - SECTION);
                at_left = bound(left);
                best = best.max(at_left);
            }
        }
        best
    }

    /// The least that serving, launching and dropping cost from the start.
    fn cheapest_s(&self, price: f64, first: u32) -> f64 {
        let width = self.slack.iter().max().map_or(1, |most| *most as usize + 1);
        let states = width * (self.most + 1) as usize;
        let mut after = Costs {
            width,
            by_state: vec![0.0; states],
        };
        let mut before = Costs {
            width,
            by_state: vec![0.0; states],
        };
        for bucket in (1..self.earliest.len()).rev() {
            self.serve(bucket, price, &after, &mut before);
            self.resize(bucket, &mut before);
            std::mem::swap(&mut before, &mut after);
        }
        after.row(first as usize)[self.slack[0] as usize]
    }

    /// Costs at the begin of a bucket with the number of workers that serves in it.
    fn serve(&self, bucket: usize, price: f64, after: &Costs, before: &mut Costs) {
        let arriving = self.earliest[bucket] - self.earliest[bucket - 1];
        let behind_before = self.slack[bucket - 1];
        let behind_after = self.slack[bucket];
        for index in 0..=self.most as usize {
            let serving = index as f64 * self.bucket_s;
            let grows = match index == self.most as usize {
                true => -behind_before - 1,
                false => arriving - index as i64,
            };
            let next = after.row(index);
            let row = &mut before.row_mut(index)[..=behind_before as usize];
            // Backlogs up to here are worked off.
            let cleared = (-grows).clamp(0, behind_before + 1);
            // Backlogs from here on must be cut to what may be left.
            let cut = (behind_after - grows + 1).clamp(cleared, behind_before + 1);
            row[..cleared as usize].fill(next[0] + serving);
            let kept = &mut row[cleared as usize..cut as usize];
            let from = usize::try_from(cleared + grows).unwrap_or(0);
            let onward = next.get(from..).unwrap_or_default();
            for (cost, next) in kept.iter_mut().zip(onward) {
                *cost = next + serving;
            }
            let most = next[behind_after as usize] + serving;
            for backlog in cut..=behind_before {
                let dropped = backlog + grows - behind_after;
                row[backlog as usize] = most + price * dropped as f64;
            }
        }
    }

    /// Allows any other number of workers: more for a launch each, fewer for nothing.
    fn resize(&self, bucket: usize, costs: &mut Costs) {
        let length = self.slack[bucket - 1] as usize + 1;
        let last = self.most as usize;
        for index in (0..last).rev() {
            costs.relax(index, index + 1, length, self.launch_s);
        }
        for index in 1..=last {
            costs.relax(index, index - 1, length, 0.0);
        }
    }
}

impl Costs {
    fn row(&self, index: usize) -> &[f64] {
        &self.by_state[index * self.width..][..self.width]
    }

    fn row_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.by_state[index * self.width..][..self.width]
    }

    /// A state of row `to` costs no more than the same of row `by` and the way there.
    fn relax(&mut self, to: usize, by: usize, length: usize, way: f64) {
        let (low, high) = self.by_state.split_at_mut(to.max(by) * self.width);
        let low = &mut low[to.min(by) * self.width..][..length];
        let high = &mut high[..length];
        let (to, by) = if to < by { (low, high) } else { (high, low) };
        for (to, by) in to.iter_mut().zip(by) {
            *to = to.min(*by + way);
        }
    }
}
