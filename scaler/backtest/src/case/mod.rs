//! Policies side by side: the rows of the table that `backtest` prints, and how a rival is tuned.
//!
//! Everything here is a function of demand, scenario, policy and seed, so that rows may run in any order
//! and on any number of threads.

mod tidegate;

use std::time::Duration;

use serde::Serialize;

pub use tidegate::Tidegate;

use crate::bound::lower_bound_hours;
use crate::rivals::{Capacity, Rival, Setting};
use crate::sim::{Autoscaler, Outcome, Scenario, run, run_by_rate};
use crate::trace::Demand;
use tidegate_control::Policy;

/// What every policy is run on: one demand, already scaled, in one scenario, by one seed.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub trace: &'a str,
    pub scenario: &'a Scenario,
    pub demand: &'a Demand,
    pub seed: u64,
    pub mode: Mode,
}

/// One policy on one trace, lead time and seed, as `backtest --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The stem of the policy's file, a rival's name at its defaults, or that name with `-tuned`.
    pub policy: String,
    pub trace: String,
    pub seed: u64,
    pub lead_time_s: f64,
    pub slo_ms: u64,
    /// Share of arrivals answered within the SLO; shed, expired and killed ones are misses.
    pub attainment: f64,
    pub p99_ms: f64,
    /// Launch to end, booting counted, each worker a minute at least.
    pub instance_hours: f64,
    /// What every policy needs that reaches the scenario's attainment.
    pub lower_bound_hours: f64,
    pub reversals_per_hour: f64,
    pub killed_in_flight: u64,
    pub violation_minutes: u64,
    /// Of the instance-hours, by the policy's price (`cost.price_per_hour`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
}

impl Row {
    pub fn new(policy: &str, case: &Case<'_>, outcome: &Outcome, lower_bound_hours: f64) -> Row {
        Row {
            policy: policy.to_owned(),
            trace: case.trace.to_owned(),
            seed: case.seed,
            lead_time_s: case.scenario.lead_time.as_secs_f64(),
            slo_ms: case.scenario.slo.as_millis() as u64,
            attainment: outcome.attainment(),
            p99_ms: outcome.p99_ms,
            instance_hours: outcome.instance_hours,
            lower_bound_hours,
            reversals_per_hour: outcome.reversals_per_hour,
            killed_in_flight: outcome.killed_in_flight,
            violation_minutes: outcome.violation_minutes,
            cost: None,
        }
    }

    /// With what the hours cost, where the price of one is known.
    pub fn priced(self, price_per_hour: Option<f64>) -> Row {
        Row {
            cost: price_per_hour.map(|price| price * self.instance_hours),
            ..self
        }
    }
}

impl Row {
    /// Hours above the bound, as a share of it; 0 where the demand is too short to bound anything.
    pub fn over_bound(&self) -> f64 {
        match self.lower_bound_hours > 0.0 {
            true => self.instance_hours / self.lower_bound_hours - 1.0,
            false => 0.0,
        }
    }
}

/// How requests are simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One by one, through the proxy's queue.
    #[default]
    Exact,
    /// By windows of time; see [`agree`].
    Rate,
}

/// The rate mode may stand in for the exact one on a case where the two are no further apart than
/// 0.1 point of attainment and 1 % of the hours.
pub fn agree(exact: &Outcome, rate: &Outcome) -> bool {
    let points = (exact.attainment() - rate.attainment()).abs();
    let hours = (rate.instance_hours / exact.instance_hours - 1.0).abs();
    points <= 0.001 && hours <= 0.01
}

impl<'a> Case<'a> {
    /// The same case in the rate mode.
    pub fn by_rate(&self) -> Case<'a> {
        Case {
            mode: Mode::Rate,
            ..*self
        }
    }

    pub fn run(&self, autoscaler: &mut dyn Autoscaler) -> Outcome {
        let run = match self.mode {
            Mode::Exact => run,
            Mode::Rate => run_by_rate,
        };
        run(self.scenario, self.demand, self.seed, autoscaler)
    }

    /// Tidegate itself, by a policy.
    pub fn run_policy(&self, policy: &Policy) -> Outcome {
        let tidegate = Tidegate::in_scenario(policy.clone(), self.scenario);
        self.run(&mut tidegate.beginning(self.demand.began()))
    }

    /// The same by a law that has lived through another demand just before.
    pub fn run_policy_after(&self, before: &Demand, policy: &Policy) -> Outcome {
        let tidegate = Tidegate::in_scenario(policy.clone(), self.scenario);
        let mut tidegate = tidegate.beginning(before.began());
        let earlier = Case {
            demand: before,
            ..*self
        };
        earlier.run(&mut tidegate);
        tidegate.go_on(Duration::from_secs_f64(before.span_s()));
        self.run(&mut tidegate)
    }

    pub fn run_rival(&self, rival: Rival, setting: Setting) -> Outcome {
        let capacity = Capacity::of(self.scenario);
        self.run(rival.build(capacity, setting).as_mut())
    }

    pub fn lower_bound_hours(&self) -> f64 {
        lower_bound_hours(self.scenario, self.demand, self.seed)
    }
}

/// The setting out of the rival's 30 that is best on this case.
pub fn tune(rival: Rival, case: &Case<'_>) -> Setting {
    let tried = rival.settings().into_iter().map(|setting| {
        let outcome = case.run_rival(rival, setting);
        (setting, Rank::of(&outcome, case.scenario))
    });
    best(tried).unwrap_or(rival.defaults())
}

/// Of what was tried, the cheapest that reaches the attainment, else the one that comes closest.
pub fn best<T>(tried: impl IntoIterator<Item = (T, Rank)>) -> Option<T> {
    let better = |best: (T, Rank), next: (T, Rank)| match next.1.is_better_than(&best.1) {
        true => next,
        false => best,
    };
    tried.into_iter().reduce(better).map(|(tried, _)| tried)
}

/// How good an outcome is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    reaches: bool,
    attainment: f64,
    hours: f64,
}

impl Rank {
    pub fn of(outcome: &Outcome, scenario: &Scenario) -> Rank {
        Rank {
            reaches: outcome.attainment() >= scenario.attainment,
            attainment: outcome.attainment(),
            hours: outcome.instance_hours,
        }
    }

    /// Whether this is better than another outcome of the same case.
    pub fn is_better_than(&self, other: &Rank) -> bool {
        match (self.reaches, other.reaches) {
            (true, true) => self.hours < other.hours,
            (false, false) => self.attainment > other.attainment,
            (reaches, _) => reaches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace;

    #[test]
    fn tuning_takes_the_cheapest_setting_that_keeps_the_promise() {
        let mut scenario = Scenario::default();
        scenario.service.variation = 0.5;
        let demand = trace::constant(20.0, 600.0);
        let case = Case {
            trace: "constant",
            scenario: &scenario,
            demand: &demand,
            seed: 1,
            mode: Mode::Exact,
        };
        let tuned = case.run_rival(Rival::KnativeKpa, tune(Rival::KnativeKpa, &case));
        let usual = case.run_rival(Rival::KnativeKpa, Rival::KnativeKpa.defaults());
        assert!(tuned.attainment() >= 0.99);
        assert!(tuned.instance_hours <= usual.instance_hours);
    }

    #[test]
    fn a_row_has_the_fields_of_the_table() {
        let scenario = Scenario::default();
        let demand = trace::constant(20.0, 60.0);
        let case = Case {
            trace: "constant",
            scenario: &scenario,
            demand: &demand,
            seed: 1,
            mode: Mode::Exact,
        };
        let outcome = case.run_rival(Rival::Hpa, Rival::Hpa.defaults());
        let row = Row::new("hpa", &case, &outcome, case.lower_bound_hours());
        let json = serde_json::to_value(&row).expect("it serializes");
        let mut names: Vec<&String> = json.as_object().expect("an object").keys().collect();
        names.sort_unstable();
        let mut expected = [
            "policy",
            "trace",
            "seed",
            "lead_time_s",
            "slo_ms",
            "attainment",
            "p99_ms",
            "instance_hours",
            "lower_bound_hours",
            "reversals_per_hour",
            "killed_in_flight",
            "violation_minutes",
        ];
        expected.sort_unstable();
        assert_eq!(names, expected);
    }
}
