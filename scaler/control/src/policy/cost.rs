//! `[cost]`: what an instance-hour costs, and what an hour of the fleet may.

use serde::Deserialize;
use tidegate_config::Problem;

use super::FleetRules;

/// `[cost]`. The currency is the reader's: no number is converted.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostRules {
    /// Of one worker.
    pub price_per_hour: f64,
    /// The fleet is not grown beyond what this pays for.
    #[serde(default)]
    pub budget_per_hour: Option<f64>,
}

impl CostRules {
    pub fn of(&self, workers: u32) -> f64 {
        self.price_per_hour * f64::from(workers)
    }

    /// The most workers that the budget pays for, if there is one.
    pub fn ceiling(&self) -> Option<u32> {
        // A hundredth of a worker is forgiven, as 1.2 / 0.4 is a little less than 3.
        let budget = self.budget_per_hour?;
        Some((budget / self.price_per_hour + 0.01) as u32)
    }

    pub fn check(&self, fleet: &FleetRules) -> Result<(), Problem> {
        if !(self.price_per_hour.is_finite() && self.price_per_hour > 0.0) {
            let expected = "more than 0";
            return Err(Problem::new(
                "price_per_hour",
                self.price_per_hour,
                expected,
            ));
        }
        match (self.budget_per_hour, self.ceiling()) {
            (Some(budget), _) if !budget.is_finite() || budget <= 0.0 => {
                Err(Problem::new("budget_per_hour", budget, "more than 0"))
            }
            (Some(budget), Some(most)) if most < fleet.min => {
                let least = self.of(fleet.min);
                let expected = format!("{least} or more, the price of fleet.min workers");
                Err(Problem::new("budget_per_hour", budget, expected))
            }
            _ => Ok(()),
        }
    }
}
