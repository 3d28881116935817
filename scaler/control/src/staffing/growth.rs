//! What growth within a lead time costs each size of the fleet, with no model of the demand.
//!
//! What a worker more or less does shows a lead time later. So beside the real fleet, imagined ones
//! are run on the real arrivals, each as large as the rate of a lead time ago asks for, times a
//! margin of its own. What their lines come to is what that margin would have cost: growth, bursts,
//! noise and the time that a change takes to be seen are all in it, as long or short as they were.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

use super::strain::Strain;

/// Margins are even steps of their logarithm, from none to [`MOST`].
const STEPS: usize = 48;

/// Headroom beyond this is not bought; such bursts are for the line.
pub(super) const MOST: f64 = 4.0;

/// Where the largest fleet's wait costs this share of requests, none is judged by it: such a burst says
/// nothing about margins.
const LOST: f64 = 0.2;

/// What happened counts half after six hours.
const HALF_LIFE_S: f64 = 6.0 * 3600.0;

/// A longer pause between two readings says nothing about lines.
const LONGEST_PAUSE_S: f64 = 10.0;

/// A fleet that is only imagined.
#[derive(Clone, Copy, Debug, Default)]
struct Fleet {
    /// Requests in its line.
    waiting: f64,
    /// Requests that missed the promise for having waited.
    missed: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Growth {
    lead_time: Duration,
    hold: Duration,
    /// The rates that were seen, the newest last.
    rates: VecDeque<(Moment, f64)>,
    /// One for each margin.
    fleets: [Fleet; STEPS + 1],
    requests: f64,
}

/// What a tick saw.
pub(super) struct Sight<'a> {
    pub now: Moment,
    /// Requests since the reading before.
    pub arrived: f64,
    /// The rate now.
    pub per_s: f64,
    pub strain: &'a Strain,
}

impl Growth {
    pub fn new(lead_time: Duration, hold: Duration) -> Growth {
        Growth {
            lead_time,
            hold,
            rates: VecDeque::new(),
            fleets: [Fleet::default(); STEPS + 1],
            requests: 0.0,
        }
    }

    /// Looks so far ahead from now on, and lets go of workers after so long.
    pub fn set_times(&mut self, lead_time: Duration, hold: Duration) {
        (self.lead_time, self.hold) = (lead_time, hold);
    }

    pub fn push(&mut self, sight: &Sight) {
        let now = sight.now;
        let last = self.rates.back().map(|(at, _)| *at);
        let seconds = last.map_or(0.0, |last| now.saturating_sub(last).as_secs_f64());
        self.rates.push_back((now, sight.per_s));
        self.forget(now);
        match self.staffed(now) {
            Some(per_s) if seconds > 0.0 && seconds <= LONGEST_PAUSE_S => {
                self.work(per_s, seconds, sight);
            }
            // Nobody worked: what the lines would be is not known.
            _ => self.fleets.iter_mut().for_each(|fleet| fleet.waiting = 0.0),
        }
    }

    /// Lets every fleet work for so long, staffed for this rate times its margin.
    fn work(&mut self, staffed_per_s: f64, seconds: f64, sight: &Sight) {
        let left = left(seconds);
        self.requests = self.requests * left + sight.arrived;
        let mut costs = [0.0; STEPS + 1];
        for (step, fleet) in self.fleets.iter_mut().enumerate() {
            let per_s = staffed_per_s * margin(step);
            let waiting = (fleet.waiting + sight.arrived - per_s * seconds).max(0.0);
            // What waits longer is given up.
            fleet.waiting = waiting.min(per_s * sight.strain.promised_s());
            let wait_s = fleet.waiting / per_s.max(f64::MIN_POSITIVE);
            costs[step] = sight.strain.cost(wait_s);
        }
        let counts = match costs[STEPS] <= LOST {
            true => sight.arrived,
            false => 0.0,
        };
        for (fleet, cost) in self.fleets.iter_mut().zip(costs) {
            fleet.missed = fleet.missed * left + counts * cost;
        }
    }

    /// The rate that was staffed for now, when what launches now serve was decided.
    fn staffed(&self, now: Moment) -> Option<f64> {
        let decided = now.checked_sub(self.lead_time)?;
        let held = decided.saturating_sub(self.hold);
        // What was last seen by then, and since then.
        let from = self.rates.partition_point(|(at, _)| *at <= held);
        let known = self.rates.range(from.saturating_sub(1)..);
        let known = known.take_while(|(at, _)| *at <= decided);
        known.map(|(_, per_s)| *per_s).reduce(f64::max)
    }

    fn forget(&mut self, now: Moment) {
        let Some(oldest) = now.checked_sub(self.lead_time + self.hold) else {
            return;
        };
        while self.rates.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.rates.pop_front();
        }
    }

    /// Share of requests that would miss the promise, for waiting, on a fleet `margin` times as
    /// large as the rate asks for.
    pub fn missed(&self, margin: f64) -> f64 {
        let share = |step: usize| {
            let fleet = self.fleets.get(step)?;
            Some((fleet.missed / self.requests.max(f64::MIN_POSITIVE)).min(1.0))
        };
        let at = margin.max(1.0).ln() / MOST.ln() * STEPS as f64;
        let step = (at as usize).min(STEPS);
        let low = share(step).unwrap_or(0.0);
        share(step + 1).map_or(low, |high| low + (high - low) * (at - step as f64))
    }
}

fn margin(step: usize) -> f64 {
    MOST.powf(step as f64 / STEPS as f64)
}

/// What this time leaves of a memory.
fn left(seconds: f64) -> f64 {
    (-seconds * std::f64::consts::LN_2 / HALF_LIFE_S).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After three hours of this rate, at a lead time of a minute.
    fn learned(per_s: impl Fn(u64) -> f64) -> Growth {
        let mut growth = Growth::new(Duration::from_secs(60), Duration::from_secs(45));
        let strain = Strain::new(2.0);
        for second in 0..10_800 {
            let (now, arrived) = (Moment::from_secs(second), per_s(second));
            growth.push(&Sight {
                now,
                arrived,
                per_s: arrived,
                strain: &strain,
            });
        }
        growth
    }

    /// The least margin that costs no more than one request in a thousand.
    fn enough(growth: &Growth) -> f64 {
        let margins = (0..100).map(|step| 1.0 + f64::from(step) / 100.0);
        let mut enough = margins.filter(|margin| growth.missed(*margin) <= 0.001);
        enough.next().expect("some margin is enough")
    }

    #[test]
    fn a_steady_past_leaves_little_headroom_and_steps_ask_for_theirs() {
        let steady = enough(&learned(|_| 40.0));
        assert!((1.0..1.1).contains(&steady), "{steady}");
        let stepping = learned(|second| if second % 1400 < 700 { 60.0 } else { 40.0 });
        let stepping = enough(&stepping);
        assert!((1.4..1.6).contains(&stepping), "{stepping}");
    }

    #[test]
    fn what_the_line_absorbs_asks_for_nothing() {
        // Twice the rate for one second: a wait of half a second in the line.
        let short = learned(|second| if second % 600 == 0 { 60.0 } else { 40.0 });
        let short = enough(&short);
        assert!(short < 1.15, "{short}");
    }

    #[test]
    fn a_pause_in_the_readings_is_held_against_no_margin() {
        let mut growth = learned(|_| 40.0);
        let before = growth.missed(1.0);
        growth.push(&Sight {
            now: Moment::from_secs(10_900),
            arrived: 4000.0,
            per_s: 40.0,
            strain: &Strain::new(2.0),
        });
        assert_eq!(growth.missed(1.0), before);
    }
}
