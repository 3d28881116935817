//! How cautious staffing has to be, learned from how long requests wait.
//!
//! Caution is the normal quantile at which growth is covered. It rises while the mean wait is over
//! what is aimed at and falls while it is under (adaptive conformal inference: Gibbs and Candes,
//! NeurIPS 2021), so that in the long run the mean wait is what was aimed at, whatever is wrong
//! with the forecast.

use super::Reading;

const FIRST: f64 = 1.5;
const LEAST: f64 = 0.3;
const MOST: f64 = 2.6;

/// Falls by one in so many seconds without waiting.
const RELAXATION_S: f64 = 3600.0;

/// A tick's wait counts up to so many times what is aimed at.
const WORST: f64 = 60.0;

#[derive(Clone, Debug)]
pub(super) struct Caution {
    pub deviations: f64,
    wait_s: f64,
    last: Option<Reading>,
}

impl Caution {
    pub fn new(wait_s: f64) -> Caution {
        Caution {
            deviations: FIRST,
            wait_s,
            last: None,
        }
    }

    /// Settles for another mean wait from now on.
    pub fn set_wait(&mut self, wait_s: f64) {
        self.wait_s = wait_s;
    }

    pub fn push(&mut self, reading: &Reading) {
        let Some(last) = self.last.replace(*reading) else {
            return;
        };
        let seconds = reading.at.saturating_sub(last.at).as_secs_f64();
        let arrivals = (reading.arrivals_total - last.arrivals_total).max(1) as f64;
        // By Little's law, the time in line that this tick's arrivals are worth.
        let wait_s = (reading.waiting_s - last.waiting_s) / arrivals;
        let excess = (wait_s / self.wait_s).min(WORST) - 1.0;
        let moved = self.deviations + excess * seconds / RELAXATION_S;
        self.deviations = moved.clamp(LEAST, MOST);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn caution_rises_while_requests_wait_too_long_and_falls_otherwise() {
        let mut caution = Caution::new(0.1);
        let mut reading = Reading {
            ..Reading::default()
        };
        let mut after = |ticks: u32, wait_s: f64| {
            for _ in 0..ticks {
                reading.at += Duration::from_secs(2);
                reading.arrivals_total += 80;
                reading.waiting_s += 80.0 * wait_s;
                caution.push(&reading);
            }
            caution.deviations
        };
        let calm = after(300, 0.0);
        assert!(calm < FIRST);
        assert_eq!(after(300, 0.1), calm, "as long as was aimed at");
        let hurt = after(10, 2.0);
        assert!(hurt > calm);
        assert_eq!(after(1000, 60.0), MOST);
        assert_eq!(after(100_000, 0.0), LEAST);
    }
}
