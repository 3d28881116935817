//! By how much demand grew within a lead time from a rate like this one, at most.
//!
//! For every moment of the past it is known by now what the largest rate within a lead time of it
//! was. The ratio of that to the rate at the moment needs no model of the demand, and a high quantile
//! of it, over moments whose rate was like the one now, is where buying headroom ends: from the top
//! of a burst traffic does not double once more.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_queue::Moment;

use super::growth::MOST;

/// Growth is believed that came after no fewer than this share of moments, or than the share of
/// requests that may miss the promise.
const RARE: f64 = 0.01;

/// The normal quantile of it, by which growth is believed before any was seen.
const DEVIATIONS: f64 = 2.3;

/// How often a moment is noted.
const EVERY: Duration = Duration::from_secs(10);

/// Moments that are remembered: six hours.
const MEMORY: usize = 2160;

/// Before anything was seen, growth is taken to be that of a random walk with this standard
/// deviation in a minute.
const PRIOR_DEVIATION: f64 = 0.06;

/// Moments that the prior is worth: half an hour.
const PRIOR_WEIGHT: f64 = 180.0;

/// Between a change of the demand and its detection.
const DETECTION: Duration = Duration::from_secs(10);

/// Of the past, one in so many moments is looked at: those with the nearest rate.
const NEAREST_SHARE: usize = 4;

/// And no fewer than this: a quarter of an hour.
const NEAREST_LEAST: usize = 90;

/// A moment whose lead time is over.
#[derive(Clone, Copy, Debug)]
struct Past {
    log_rate: f64,
    log_growth: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Ceiling {
    horizon: Duration,
    next: Moment,
    /// Moments whose horizon is not over: rate then, largest rate since.
    open: VecDeque<(Moment, f64, f64)>,
    /// Past moments, in the order of time.
    seen: VecDeque<Past>,
    log_factor: f64,
}

impl Ceiling {
    pub fn new(lead_time: Duration) -> Ceiling {
        let horizon = lead_time + DETECTION;
        Ceiling {
            horizon,
            next: Moment::ZERO,
            open: VecDeque::new(),
            seen: VecDeque::new(),
            log_factor: 0.0,
        }
    }

    /// Looks so far ahead from now on.
    pub fn set_lead_time(&mut self, lead_time: Duration) {
        self.horizon = lead_time + DETECTION;
    }

    /// Takes in the rate now; this share of requests may miss the promise.
    pub fn push(&mut self, now: Moment, per_s: f64, misses: f64) {
        for (_, _, most) in &mut self.open {
            *most = most.max(per_s);
        }
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        self.open.push_back((now, per_s, per_s));
        while let Some((_, rate, most)) = self.open.front().copied()
            && self
                .open
                .front()
                .is_some_and(|(at, ..)| *at + self.horizon <= now)
        {
            self.open.pop_front();
            if rate > 0.0 {
                self.seen.push_back(Past {
                    log_rate: rate.ln(),
                    log_growth: (most / rate).ln(),
                });
            }
        }
        while self.seen.len() > MEMORY {
            self.seen.pop_front();
        }
        self.log_factor = self.calibrated(per_s, RARE.min(misses));
    }

    /// By how much the rate may have grown by the end of a lead time.
    pub fn factor(&self) -> f64 {
        self.log_factor.exp().min(MOST)
    }

    /// The quantile over the past moments whose rate was nearest to this one.
    fn calibrated(&self, per_s: f64, rare: f64) -> f64 {
        let log_rate = per_s.max(f64::MIN_POSITIVE).ln();
        let mut pasts: Vec<Past> = self.seen.iter().copied().collect();
        let nearest = (pasts.len() / NEAREST_SHARE).max(NEAREST_LEAST);
        if nearest < pasts.len() {
            let distance = |past: &Past| (past.log_rate - log_rate).abs();
            pasts.select_nth_unstable_by(nearest, |a, b| distance(a).total_cmp(&distance(b)));
            pasts.truncate(nearest);
        }
        let quantile = 1.0 - rare;
        let count = pasts.len();
        let rank = ((quantile * count as f64) as usize).min(count.saturating_sub(1));
        let found = match count {
            0 => 0.0,
            _ => {
                let by_growth = |a: &Past, b: &Past| a.log_growth.total_cmp(&b.log_growth);
                pasts.select_nth_unstable_by(rank, by_growth).1.log_growth
            }
        };
        let weight = self.seen.len() as f64;
        let prior = self.prior() * PRIOR_WEIGHT;
        (found * weight + prior) / (weight + PRIOR_WEIGHT)
    }

    fn prior(&self) -> f64 {
        let minutes = self.horizon.as_secs_f64() / 60.0;
        DEVIATIONS * PRIOR_DEVIATION * minutes.sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factor after three hours of a rate, asked for at the end of them.
    fn learned(per_s: impl Fn(u64) -> f64) -> f64 {
        let mut ceiling = Ceiling::new(Duration::from_secs(60));
        for second in (0..10_800).step_by(2) {
            ceiling.push(Moment::from_secs(second), per_s(second), 0.01);
        }
        ceiling.factor()
    }

    #[test]
    fn a_steady_past_leaves_little_headroom_and_a_bursty_one_asks_for_it() {
        let steady = learned(|_| 40.0);
        assert!((1.0..1.03).contains(&steady), "{steady}");
        let bursty = learned(|second| if second % 600 < 60 { 60.0 } else { 40.0 });
        assert!((1.2..1.5).contains(&bursty), "{bursty}");
    }

    #[test]
    fn growth_from_a_rate_is_learned_from_rates_like_it() {
        // Half of the time at 40, half at 80: from 80 it never grew.
        let high = learned(|second| if second % 600 < 300 { 40.0 } else { 80.0 });
        assert!(high < 1.1, "{high}");
        let low = learned(|second| if second % 600 < 300 { 80.0 } else { 40.0 });
        assert!(low > 1.5, "{low}");
    }
}
