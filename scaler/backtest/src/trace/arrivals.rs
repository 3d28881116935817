//! From expected requests to arrivals: a renewal process in operational time.
//!
//! Operational time runs as fast as requests are expected, so a process of rate 1 in it has the
//! demand's rate on the clock (Cinlar, Introduction to Stochastic Processes, 1975). With Gamma
//! gaps of mean 1 and squared coefficient of variation I, the variance of the count over its mean
//! tends to I for long windows (Cox, Renewal Theory, 1962): I = 1 is Poisson, more is burstier.

use std::time::Duration;

use super::{Demand, Segment};
use tidegate_control::chance::Chance;

/// Arrivals in order of time, since the demand began.
#[derive(Clone, Debug)]
pub struct Arrivals<'a> {
    segments: std::slice::Iter<'a, Segment>,
    current: Option<Segment>,
    /// Where the current segment's rest begins, and what is left in it.
    begins_s: f64,
    left: f64,
    chance: Chance,
}

impl<'a> Arrivals<'a> {
    pub(super) fn new(demand: &'a Demand, seed: u64) -> Arrivals<'a> {
        let mut arrivals = Arrivals {
            segments: demand.segments().iter(),
            current: None,
            begins_s: 0.0,
            left: 0.0,
            chance: Chance::new(seed, "arrivals"),
        };
        arrivals.enter_next();
        arrivals
    }

    fn enter_next(&mut self) {
        if let Some(over) = self.current {
            self.begins_s = over.ends_s;
        }
        self.current = self.segments.next().copied();
        self.left = self.current.map_or(0.0, |segment| segment.requests);
    }

    /// The next gap in operational time.
    fn gap(&mut self, dispersion: f64) -> f64 {
        if dispersion == 1.0 {
            return self.chance.exponential();
        }
        let shape = 1.0 / dispersion;
        self.chance.gamma(shape) * dispersion
    }
}

impl Iterator for Arrivals<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut gap = self.gap(self.current?.dispersion);
        loop {
            let segment = self.current?;
            if gap < self.left {
                let share = gap / self.left;
                self.begins_s += share * (segment.ends_s - self.begins_s);
                self.left -= gap;
                return Some(Duration::from_secs_f64(self.begins_s));
            }
            gap -= self.left;
            self.enter_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts in equal windows: their mean and the variance over the mean.
    fn dispersion(demand: &Demand, window_s: f64) -> (f64, f64) {
        let mut counts = vec![0.0; (demand.span_s() / window_s) as usize];
        for at in demand.arrivals(3) {
            let index = (at.as_secs_f64() / window_s) as usize;
            if let Some(count) = counts.get_mut(index) {
                *count += 1.0;
            }
        }
        let n = counts.len() as f64;
        let mean = counts.iter().sum::<f64>() / n;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / n;
        (mean, variance / mean)
    }

    #[test]
    fn counts_have_the_rate_and_the_dispersion_that_were_asked_for() {
        for asked in [1.0, 4.0, 16.0] {
            let segment = Segment {
                ends_s: 100_000.0,
                requests: 1_000_000.0,
                dispersion: asked,
            };
            let (mean, found) = dispersion(&Demand::new(vec![segment]), 50.0);
            assert!((mean / 500.0 - 1.0).abs() < 0.02, "{asked}: mean {mean}");
            assert!((found / asked - 1.0).abs() < 0.12, "{asked}: {found}");
        }
    }

    #[test]
    fn arrivals_keep_to_the_segments_and_repeat_by_seed() {
        let segment = |ends_s, requests| Segment {
            ends_s,
            requests,
            dispersion: 1.0,
        };
        let demand = Demand::new(vec![
            segment(10.0, 0.0),
            segment(10.0, 5.0),
            segment(20.0, 1000.0),
            segment(30.0, 0.0),
        ]);
        let drawn: Vec<_> = demand.arrivals(1).collect();
        let within = |at: &Duration| (10.0..=20.0).contains(&at.as_secs_f64());
        assert!(drawn.iter().all(within));
        assert!(drawn.is_sorted());
        assert_eq!(drawn, demand.arrivals(1).collect::<Vec<_>>());
        assert_ne!(drawn, demand.arrivals(2).collect::<Vec<_>>());
    }
}
