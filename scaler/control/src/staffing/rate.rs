//! The rate of arrivals now: over the longest span up to now that shows no change.
//!
//! A short window follows a change at once and is noisy; a long one is the other way round. So the
//! window is doubled for as long as the span that it would take in has the same rate as the one it
//! has, within what chance allows (the idea of ADWIN: Bifet and Gavalda, SDM 2007).

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

/// The longest span that is looked at.
const LONGEST: Duration = Duration::from_secs(640);

/// The shortest span that a rate is taken over.
const SHORTEST: Duration = Duration::from_secs(10);

/// Differences of so many standard deviations are a change.
const CHANGE: f64 = 4.5;

/// No rate is taken over less, as after a gap in the readings.
const SHORTEST_KNOWN_S: f64 = 4.0;

/// What a burst is looked for over.
const BURST: Duration = Duration::from_secs(4);

/// A burst is at least so many times the rate (Knative's panic threshold).
const BURST_FACTOR: f64 = 2.0;

/// A rise is looked for between two spans of this length.
const RISE: Duration = Duration::from_secs(60);

/// Standard errors by which a rise differs from none.
const SIGNIFICANT: f64 = 2.0;

/// Share of a rise that goes on.
const GOES_ON: f64 = 0.5;

/// Share of the newest pair of spans in the running mean of the dispersion.
const NEWEST: f64 = 0.02;

/// Before pairs were seen the dispersion is taken for this, which is worth so many pairs.
const PRIOR_DISPERSION: f64 = 2.0;
const PRIOR_PAIRS: f64 = 5.0;

const MOST_DISPERSION: f64 = 25.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub per_s: f64,
    pub dispersion: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// Arrivals up to each moment, the newest last.
    totals: VecDeque<(Moment, u64)>,
    dispersion: f64,
    /// Pairs of spans that the dispersion is known from.
    pairs: f64,
    next_pair: Moment,
}

impl Default for Rate {
    fn default() -> Self {
        Rate {
            totals: VecDeque::new(),
            dispersion: PRIOR_DISPERSION,
            pairs: 0.0,
            next_pair: Moment::ZERO,
        }
    }
}

/// A count over a time.
#[derive(Clone, Copy, Debug)]
struct Count {
    arrivals: f64,
    seconds: f64,
}

impl Count {
    fn per_s(&self) -> f64 {
        self.arrivals / self.seconds
    }
}

impl Rate {
    pub fn push(&mut self, at: Moment, total: u64) {
        self.totals.push_back((at, total));
        let oldest = at.saturating_sub(LONGEST);
        while self.totals.get(1).is_some_and(|(next, _)| *next <= oldest) {
            self.totals.pop_front();
        }
        if at >= self.next_pair {
            self.next_pair = at + SHORTEST;
            self.learn_dispersion(at);
        }
    }

    pub fn estimate(&self) -> Option<Estimate> {
        let (now, _) = *self.totals.back()?;
        let mut newer = self.count(now.saturating_sub(SHORTEST), now)?;
        if newer.seconds < SHORTEST_KNOWN_S {
            return None;
        }
        let mut window = SHORTEST;
        while window < LONGEST {
            let middle = now.saturating_sub(window);
            let Some(older) = self.count(middle.saturating_sub(window), middle) else {
                break;
            };
            if self.differ(newer, older) {
                break;
            }
            newer.arrivals += older.arrivals;
            newer.seconds += older.seconds;
            window *= 2;
        }
        Some(Estimate {
            per_s: newer.per_s(),
            dispersion: self.dispersion,
        })
    }

    /// The rate of the last seconds, when it is far beyond that of the span before them.
    pub fn burst(&self) -> Option<f64> {
        let (now, _) = *self.totals.back()?;
        let begin = now.saturating_sub(BURST);
        let newer = self.count(begin, now)?;
        let older = self.count(begin.saturating_sub(SHORTEST), begin)?;
        let bursts = newer.per_s() >= BURST_FACTOR * older.per_s();
        (bursts && self.differ(newer, older)).then(|| newer.per_s())
    }

    /// By how much the rate will have risen at the end of this time, if half of its rise over the last
    /// two minutes goes on; 0 where it does not rise beyond chance.
    pub fn rise(&self, ahead: Duration) -> f64 {
        let Some((now, _)) = self.totals.back().copied() else {
            return 0.0;
        };
        let middle = now.saturating_sub(RISE);
        let begin = middle.checked_sub(RISE);
        let older = begin.and_then(|begin| self.count(begin, middle));
        let (Some(newer), Some(older)) = (self.count(middle, now), older) else {
            return 0.0;
        };
        let risen = newer.per_s() - older.per_s();
        let variance = |count: Count| self.dispersion * count.arrivals / count.seconds.powi(2);
        let error = (variance(newer) + variance(older)).sqrt();
        match older.arrivals > 0.0 && risen > SIGNIFICANT * error {
            // The rate is taken in the middle of the newer span.
            true => GOES_ON * risen * ((ahead + RISE / 2).as_secs_f64() / RISE.as_secs_f64()),
            false => 0.0,
        }
    }

    fn differ(&self, newer: Count, older: Count) -> bool {
        let pooled = (newer.arrivals + older.arrivals) / (newer.seconds + older.seconds);
        let variance = self.dispersion * pooled * (1.0 / newer.seconds + 1.0 / older.seconds);
        (newer.per_s() - older.per_s()).abs() > CHANGE * variance.sqrt()
    }

    /// Half the squared difference of two neighbouring counts is their variance, whatever slow
    /// change there is.
    fn learn_dispersion(&mut self, now: Moment) {
        let middle = now.saturating_sub(SHORTEST);
        let newer = self.count(middle, now);
        let older = self.count(middle.saturating_sub(SHORTEST), middle);
        let (Some(newer), Some(older)) = (newer, older) else {
            return;
        };
        let sum = newer.arrivals + older.arrivals;
        if sum > 0.0 {
            let found = (newer.arrivals - older.arrivals).powi(2) / sum;
            let found = found.min(MOST_DISPERSION);
            self.pairs += 1.0;
            let newest = NEWEST.max(1.0 / (self.pairs + PRIOR_PAIRS));
            self.dispersion += newest * (found - self.dispersion);
            self.dispersion = self.dispersion.max(1.0);
        }
    }

    /// Arrivals between the readings that are nearest to two moments.
    fn count(&self, from: Moment, to: Moment) -> Option<Count> {
        let at = |moment: Moment| {
            let index = self.totals.partition_point(|(at, _)| *at < moment);
            self.totals.get(index).copied()
        };
        let ((begin, before), (end, after)) = (at(from)?, at(to)?);
        let seconds = end.saturating_sub(begin).as_secs_f64();
        (seconds > 0.0).then(|| Count {
            arrivals: (after - before) as f64,
            seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_backtest::trace;

    /// The estimates every two seconds of a demand that is drawn by seed 1.
    fn estimates(demand: &trace::Demand) -> Vec<(u64, f64)> {
        let mut rate = Rate::default();
        let mut arrivals = demand.arrivals(1).peekable();
        let mut total = 0;
        let seconds = (0..demand.span_s() as u64).step_by(2);
        let estimates = seconds.filter_map(|second| {
            let now = Moment::from_secs(second);
            while arrivals.next_if(|at| *at <= now).is_some() {
                total += 1;
            }
            rate.push(now, total);
            rate.estimate().map(|estimate| (second, estimate.per_s))
        });
        estimates.collect()
    }

    #[test]
    fn a_steady_rate_is_known_closely_and_a_step_is_seen_at_once() {
        let found = estimates(&trace::step(40.0, 80.0, 1800.0, 2400.0));
        for (second, per_s) in &found {
            match second {
                1000..1800 => assert!((per_s / 40.0 - 1.0).abs() < 0.05, "{second}: {per_s}"),
                1812..=2000 => assert!((per_s / 80.0 - 1.0).abs() < 0.15, "{second}: {per_s}"),
                2300.. => assert!((per_s / 80.0 - 1.0).abs() < 0.05, "{second}: {per_s}"),
                _ => {}
            }
        }
    }
}
