//! How cautious staffing has to be, learned from what waiting came to.
//!
//! Staffing aims at a share of requests that miss the promise because they wait. What waiting really
//! cost is known after each tick; while it is over what may be missed, staffing aims lower, and
//! higher while it is under (adaptive conformal inference: Gibbs and Candes, NeurIPS 2021), within
//! bounds: a burst that no fleet could meet is not made good by hours of idle workers after it.

/// Aims are at most so many times what may be missed, and at least so small a part of it.
const MOST: f64 = 4.0;
const LEAST: f64 = 0.5;

/// The aim grows by a factor of e in so many seconds without waiting.
const RELAXATION_S: f64 = 3600.0;

/// A longer pause between two ticks counts as so much.
const LONGEST_TICK_S: f64 = 10.0;

/// A tick counts up to so many times what may be missed.
const WORST: f64 = 100.0;

#[derive(Clone, Debug)]
pub(super) struct Caution {
    log_aim: f64,
}

impl Default for Caution {
    /// As careful as it may be, until it is seen that less will do.
    fn default() -> Self {
        Caution {
            log_aim: LEAST.ln(),
        }
    }
}

impl Caution {
    /// How many times what may be missed is aimed at.
    pub fn aim(&self) -> f64 {
        self.log_aim.exp()
    }

    /// Over these seconds waiting cost `missed` of `requests`, of which the share `allowed` may be.
    pub fn push(&mut self, seconds: f64, missed: f64, requests: f64, allowed: f64) {
        if requests == 0.0 {
            return;
        }
        let (share, seconds) = (missed / requests, seconds.min(LONGEST_TICK_S));
        let excess = (share / allowed).min(WORST) - 1.0;
        let moved = self.log_aim - excess * seconds / RELAXATION_S;
        self.log_aim = moved.clamp(LEAST.ln(), MOST.ln());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aims_fall_while_waiting_costs_too_much_and_rise_otherwise() {
        let mut caution = Caution::default();
        let mut after = |ticks: u32, missed: f64| {
            for _ in 0..ticks {
                caution.push(2.0, missed, 80.0, 0.01);
            }
            caution.aim()
        };
        let calm = after(300, 0.0);
        assert!(calm > LEAST);
        assert_eq!(after(300, 0.8), calm, "as much as may be");
        assert!(after(10, 16.0) < calm);
        assert!((after(1000, 80.0) / LEAST - 1.0).abs() < 1e-9);
        assert!((after(100_000, 0.0) / MOST - 1.0).abs() < 1e-9);
    }
}
