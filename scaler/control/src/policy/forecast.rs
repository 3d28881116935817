//! `[forecast]`: sizing for the demand one lead time from now, by a few numbers.

use std::time::Duration as Span;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

use super::{Slo, check_at_least_a_second, quoted};

/// Of the promised time, what the mean service may take: the slowest take several times the mean.
const SERVICE_SHARE: f64 = 0.5;

/// A worker stays for this long after it was last needed: clouds bill a minute anyway, and a drain
/// takes its time. What the traffic does within a lead time is in the forecast itself.
pub(crate) const HOLD: Span = Span::from_secs(45);

/// Longest time to empty a queue in.
const LONGEST_BUDGET: Duration = Duration::from_secs(600);

/// `[forecast]`: without this table the fleet follows its signals alone.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForecastRules {
    /// Share of requests to be answered within `slo.latency`.
    pub attainment: f64,
    /// What waits is worked off within this, or a lead time where that is longer.
    pub waiting_budget: Duration,
}

impl Default for ForecastRules {
    fn default() -> Self {
        ForecastRules {
            attainment: 0.99,
            waiting_budget: Duration::from_secs(20),
        }
    }
}

impl ForecastRules {
    /// Longest mean service time, in seconds, that a worker is to be filled up to.
    pub fn service_limit_s(&self, slo: &Slo) -> f64 {
        SERVICE_SHARE * slo.latency.as_secs_f64()
    }

    pub fn check(&self) -> Result<(), Problem> {
        if !(0.5..=0.9999).contains(&self.attainment) {
            return Err(Problem::new(
                "attainment",
                self.attainment,
                "0.5 to 0.9999, such as 0.99",
            ));
        }
        check_at_least_a_second("waiting_budget", self.waiting_budget)?;
        if self.waiting_budget > LONGEST_BUDGET {
            let found = quoted(self.waiting_budget);
            let expected = format!("at most \"{LONGEST_BUDGET}\"");
            return Err(Problem::new("waiting_budget", found, expected));
        }
        Ok(())
    }
}
