//! Which margin over the present rate covers what happens until a launch serves.
//!
//! What a worker more or less does shows a lead time later. So beside the real fleet, imagined ones
//! are run on the real arrivals, each as large as the rate of a lead time ago times a margin of its
//! own. What their lines come to is what staffing by that margin would have cost: growth, bursts,
//! noise and the time that a change takes to be seen are all in it, as long or short as they were,
//! and no model of the demand is needed. Before much was seen, growth is taken to be a random walk.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_line::Moment;

use super::rate::Estimate;
use super::strain::Strain;
use crate::chance::normal_tail;

/// Margins are even steps of their logarithm, from none to [`MOST`].
const MARGINS: usize = 32;

/// Headroom beyond this is not bought; such bursts are for the line.
const MOST: f64 = 2.0;

/// Where the largest fleet's wait costs this share of requests, none is judged by it.
const LOST: f64 = 0.2;

/// What happened counts half after six hours.
const HALF_LIFE_S: f64 = 6.0 * 3600.0;

/// Before anything was seen, the logarithm of the rate is taken to have this standard deviation
/// in a minute,
const PRIOR_DEVIATION: f64 = 0.1;

/// and longer times this power of it: a little less than a random walk's half, as part of what
/// traffic does comes back.
const ROUGHNESS: f64 = 0.4;

/// Growth by that deviation counts beside what the imagined fleets came to, as if it had been
/// watched for so many seconds.
const PRIOR_WEIGHT_S: f64 = 300.0;

/// Minutes that the first deviation is worth beside those that were watched.
const PRIOR_MINUTES: f64 = 10.0;

const MINUTE: Duration = Duration::from_secs(60);

/// Growth that the prior tells apart, in standard deviations.
const PRIOR_STEPS: usize = 32;
const PRIOR_STEP: f64 = 0.125;

/// Between a change of the demand and its detection.
const DETECTION: Duration = Duration::from_secs(5);

/// A longer pause between two readings says nothing about lines.
const LONGEST_PAUSE_S: f64 = 10.0;

/// A fleet that is only imagined.
#[derive(Clone, Copy, Debug, Default)]
struct Imagined {
    /// Requests in its line.
    waiting: f64,
    /// Requests that missed the promise for having waited.
    missed: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Growth {
    lead_time: Duration,
    hold: Duration,
    /// Rates as they were taken to be, the newest last.
    rates: VecDeque<(Moment, Estimate)>,
    imagined: [Imagined; MARGINS + 1],
    requests: f64,
    start: Moment,
    /// Minutes that were watched, and the squared changes of the logarithm of the rate in each.
    minutes: f64,
    squares: f64,
    /// Share that misses with each margin.
    shares: [f64; MARGINS + 1],
}

impl Growth {
    pub fn new(lead_time: Duration, hold: Duration) -> Growth {
        Growth {
            lead_time,
            hold,
            rates: VecDeque::new(),
            imagined: [Imagined::default(); MARGINS + 1],
            requests: 0.0,
            start: Moment::MAX,
            minutes: 0.0,
            squares: 0.0,
            shares: [1.0; MARGINS + 1],
        }
    }

    /// Looks so far ahead from now on.
    pub fn set_lead_time(&mut self, lead_time: Duration) {
        self.lead_time = lead_time;
    }

    /// So many requests arrived since the reading before, and the rate is taken to be `per_s`.
    pub fn push(&mut self, now: Moment, arrived: f64, estimate: &Estimate, strain: &Strain) {
        let per_s = estimate.per_s;
        let seconds = match self.rates.back() {
            Some((last, _)) => now.saturating_sub(*last).as_secs_f64(),
            None => 0.0,
        };
        self.start = self.start.min(now);
        self.rates.push_back((now, *estimate));
        let then = now.checked_sub(self.lead_time);
        let looks_back = self.lead_time.max(MINUTE) + self.hold;
        let oldest = now.checked_sub(looks_back);
        while self
            .rates
            .get(1)
            .is_some_and(|(at, _)| oldest.is_some_and(|o| *at <= o))
        {
            self.rates.pop_front();
        }
        let held = then
            .map(|then| then.saturating_sub(self.hold))
            .unwrap_or_default();
        let known = (self.rates.iter().skip_while(|(at, _)| *at < held))
            .take_while(|(at, _)| then.is_some_and(|then| *at <= then));
        let staffed = known.map(|(_, estimate)| estimate.per_s).reduce(f64::max);
        match staffed {
            Some(staffed) if seconds > 0.0 && seconds <= LONGEST_PAUSE_S => {
                self.imagine(seconds, arrived, staffed, strain);
            }
            _ => self
                .imagined
                .iter_mut()
                .for_each(|fleet| fleet.waiting = 0.0),
        }
        self.note_change(now, seconds, estimate);
        self.judge(per_s, strain);
    }

    /// Follows by how much the rate changes in a minute.
    fn note_change(&mut self, now: Moment, seconds: f64, after: &Estimate) {
        let minute_ago = now.checked_sub(MINUTE);
        let index = minute_ago.map(|at| self.rates.partition_point(|(then, _)| *then < at));
        let before = index.and_then(|index| self.rates.get(index));
        if let Some((_, before)) = before
            && before.per_s > 0.0
            && after.per_s > 0.0
            && now >= self.start + MINUTE
        {
            let minutes = seconds.min(LONGEST_PAUSE_S) / 60.0;
            let kept = (-seconds * std::f64::consts::LN_2 / HALF_LIFE_S).exp();
            self.minutes = self.minutes * kept + minutes;
            // What chance alone makes of two estimates is no change.
            let noise = before.error.powi(2) + after.error.powi(2);
            let change = (after.per_s / before.per_s).ln().powi(2) - noise;
            self.squares = (self.squares * kept + minutes * change).max(0.0);
        }
    }

    /// Lets every imagined fleet work for so long. What the largest of them does not save either is
    /// held against none: it says nothing about margins, and such a burst seldom comes again.
    fn imagine(&mut self, seconds: f64, arrived: f64, staffed: f64, strain: &Strain) {
        let kept = (-seconds * std::f64::consts::LN_2 / HALF_LIFE_S).exp();
        self.requests = self.requests * kept + arrived;
        let mut charged = [0.0; MARGINS + 1];
        let mut least_cost = 0.0;
        for (index, fleet) in self.imagined.iter_mut().enumerate() {
            let per_s = staffed * margin(index);
            let waiting = (fleet.waiting + arrived - per_s * seconds).max(0.0);
            fleet.waiting = waiting.min(per_s * strain.promised_s());
            let given_up = waiting - fleet.waiting;
            least_cost = strain.cost(fleet.waiting / per_s.max(f64::MIN_POSITIVE));
            charged[index] = arrived * least_cost + given_up;
        }
        let counts = f64::from(u8::from(least_cost <= LOST));
        for (fleet, charged) in self.imagined.iter_mut().zip(charged) {
            fleet.missed = fleet.missed * kept + counts * charged;
        }
    }

    /// What each margin is known, or else taken, to cost.
    fn judge(&mut self, per_s: f64, strain: &Strain) {
        let weight = per_s * PRIOR_WEIGHT_S;
        let all = (self.requests + weight).max(f64::MIN_POSITIVE);
        let prior = self.prior(strain);
        for (index, fleet) in self.imagined.iter().enumerate() {
            self.shares[index] = ((fleet.missed + weight * prior[index]) / all).min(1.0);
        }
    }

    fn prior(&self, strain: &Strain) -> [f64; MARGINS + 1] {
        let seconds = (self.lead_time + DETECTION).as_secs_f64();
        let prior = PRIOR_MINUTES * PRIOR_DEVIATION.powi(2);
        let square = (prior + self.squares) / (PRIOR_MINUTES + self.minutes);
        let deviation = square.sqrt() * (seconds / 60.0).powf(ROUGHNESS);
        std::array::from_fn(|index| {
            let grown = (0..PRIOR_STEPS).map(|step| {
                let at = step as f64 * PRIOR_STEP;
                let share = normal_tail(at) - normal_tail(at + PRIOR_STEP);
                let factor = ((at + PRIOR_STEP / 2.0) * deviation).exp();
                share * strain.growing(factor, margin(index), seconds)
            });
            grown.sum()
        })
    }

    /// Share of requests that would miss the promise, for waiting, on a fleet `margin` times as
    /// large as the rate asks for.
    pub fn missed(&self, margin: f64) -> f64 {
        let at = margin.max(1.0).ln() / MOST.ln() * MARGINS as f64;
        let index = (at as usize).min(MARGINS);
        match self.shares.get(index + 1) {
            Some(next) => self.shares[index] + (next - self.shares[index]) * (at - index as f64),
            // No more headroom is bought than this.
            None => 0.0,
        }
    }
}

fn margin(index: usize) -> f64 {
    MOST.powf(index as f64 / MARGINS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least margin that costs no more than one request in a thousand, after three hours.
    fn learned(per_s: impl Fn(u64) -> f64) -> f64 {
        let mut growth = Growth::new(Duration::from_secs(60), Duration::from_secs(90));
        let strain = Strain::new(2.0);
        for second in 0..10_800 {
            let estimate = Estimate {
                per_s: per_s(second),
                dispersion: 1.0,
                error: 0.01,
            };
            growth.push(Moment::from_secs(second), per_s(second), &estimate, &strain);
        }
        let margins = (0..100).map(|step| 1.0 + f64::from(step) / 100.0);
        let mut enough = margins.filter(|margin| growth.missed(*margin) <= 0.001);
        enough.next().expect("some margin is enough")
    }

    #[test]
    fn a_steady_past_leaves_little_headroom_and_steps_ask_for_theirs() {
        let steady = learned(|_| 40.0);
        assert!((1.0..1.1).contains(&steady), "{steady}");
        let stepping = learned(|second| if second % 1200 < 600 { 60.0 } else { 40.0 });
        assert!((1.4..1.6).contains(&stepping), "{stepping}");
    }

    #[test]
    fn what_the_line_absorbs_asks_for_nothing() {
        // Twice the rate for one second: a wait of half a second in the line.
        let short = learned(|second| if second % 600 == 0 { 60.0 } else { 40.0 });
        assert!(short < 1.15, "{short}");
    }
}
