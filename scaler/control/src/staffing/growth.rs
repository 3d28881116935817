//! By how much demand grows within a lead time: a quantile of what it did before.
//!
//! For every moment of the past it is known by now what the largest rate within a lead time of it
//! was. The ratio of that to the rate at the moment needs no model of the demand, and its quantile
//! is calibrated as long as the near future is like the past (split conformal prediction).

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_line::Moment;

use crate::chance::normal_tail;

/// How often a moment is noted.
const EVERY: Duration = Duration::from_secs(10);

/// Moments that are remembered: six hours.
const MEMORY: usize = 2160;

/// Before anything was seen, growth is taken to be that of a random walk with this standard
/// deviation in a minute.
const PRIOR_DEVIATION: f64 = 0.1;

/// Moments that the prior is worth: half an hour.
const PRIOR_WEIGHT: f64 = 180.0;

/// Between a change of the demand and its detection.
const DETECTION: Duration = Duration::from_secs(10);

/// Headroom beyond this is not bought; such bursts are for the line.
const MOST: f64 = 2.0;

#[derive(Clone, Debug)]
pub(super) struct Growth {
    horizon: Duration,
    next: Moment,
    /// Moments whose horizon is not over: rate then, largest rate since.
    open: VecDeque<(Moment, f64, f64)>,
    /// Logarithms of past growths, in the order of time.
    seen: VecDeque<f64>,
    log_factor: f64,
}

impl Growth {
    pub fn new(lead_time: Duration) -> Growth {
        let horizon = lead_time + DETECTION;
        Growth {
            horizon,
            next: Moment::ZERO,
            open: VecDeque::new(),
            seen: VecDeque::new(),
            log_factor: 0.0,
        }
    }

    /// `deviations` is the normal quantile at which growth is covered.
    pub fn push(&mut self, now: Moment, per_s: f64, deviations: f64) {
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
                self.seen.push_back((most / rate).ln());
            }
        }
        while self.seen.len() > MEMORY {
            self.seen.pop_front();
        }
        self.log_factor = self.calibrated(deviations);
    }

    /// By how much the rate may have grown by the end of a lead time.
    pub fn factor(&self) -> f64 {
        self.log_factor.exp().min(MOST)
    }

    fn calibrated(&self, deviations: f64) -> f64 {
        let quantile = 1.0 - normal_tail(deviations);
        let count = self.seen.len();
        let mut sorted: Vec<f64> = self.seen.iter().copied().collect();
        let rank = ((quantile * count as f64) as usize).min(count.saturating_sub(1));
        let found = match count {
            0 => 0.0,
            _ => *sorted.select_nth_unstable_by(rank, f64::total_cmp).1,
        };
        let weight = count as f64;
        (found * weight + self.prior(deviations) * PRIOR_WEIGHT) / (weight + PRIOR_WEIGHT)
    }

    fn prior(&self, deviations: f64) -> f64 {
        let minutes = self.horizon.as_secs_f64() / 60.0;
        deviations * PRIOR_DEVIATION * minutes.sqrt()
    }
}
