//! Policies side by side: the rows of the table that `backtest` prints, and how a rival is tuned.
//!
//! Everything here is a function of demand, scenario, policy and seed, so that whoever drives it
//! may run rows in any order and on any number of threads.

mod predictive;
mod tidegate;

use std::time::Duration;

use serde::Serialize;

pub use predictive::Predictive;
pub use tidegate::Tidegate;

use crate::bound::lower_bound_hours;
use crate::rivals::{Capacity, Rival, Setting};
use crate::sim::{Autoscaler, Outcome, Scenario, run};
use crate::trace::Demand;

/// What every policy is run on: one demand, already scaled, in one scenario, by one seed.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub trace: &'a str,
    pub scenario: &'a Scenario,
    pub demand: &'a Demand,
    pub seed: u64,
}

/// One policy on one trace, lead time and seed, as `backtest --json` prints it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `tidegate`, a rival's name at its defaults, or that name with `-tuned`.
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
        }
    }
}

impl Case<'_> {
    pub fn run(&self, autoscaler: &mut dyn Autoscaler) -> Outcome {
        run(self.scenario, self.demand, self.seed, autoscaler)
    }

    pub fn run_rival(&self, rival: Rival, setting: Setting) -> Outcome {
        let capacity = Capacity::of(self.scenario);
        self.run(rival.build(capacity, setting).as_mut())
    }

    pub fn lower_bound_hours(&self) -> f64 {
        lower_bound_hours(self.scenario, self.demand, self.seed)
    }
}

/// The setting out of the rival's 30 that is best on this case: of those that reach the
/// scenario's attainment the one with the fewest hours, else the one that comes closest.
pub fn tune(rival: Rival, case: &Case<'_>) -> Setting {
    let mut best: Option<(Setting, Rank)> = None;
    for setting in rival.settings() {
        let rank = Rank::of(&case.run_rival(rival, setting), case.scenario);
        if best.is_none_or(|(_, best)| rank.beats(&best)) {
            best = Some((setting, rank));
        }
    }
    best.map_or(rival.defaults(), |(setting, _)| setting)
}

/// How good an outcome is.
#[derive(Clone, Copy, Debug)]
struct Rank {
    reaches: bool,
    attainment: f64,
    hours: f64,
}

impl Rank {
    fn of(outcome: &Outcome, scenario: &Scenario) -> Rank {
        Rank {
            reaches: outcome.attainment() >= scenario.attainment,
            attainment: outcome.attainment(),
            hours: outcome.instance_hours,
        }
    }

    fn beats(&self, other: &Rank) -> bool {
        match (self.reaches, other.reaches) {
            (true, true) => self.hours < other.hours,
            (false, false) => self.attainment > other.attainment,
            (reaches, _) => reaches,
        }
    }
}

/// Lead times of the standard table.
pub const LEAD_TIMES: [Duration; 4] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(180),
    Duration::from_secs(300),
];

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
        };
        let outcome = case.run_rival(Rival::Hpa, Rival::Hpa.defaults());
        let row = Row::new("hpa", &case, &outcome, case.lower_bound_hours());
        let json = serde_json::to_value(&row).expect("it serializes");
        let names: Vec<&String> = json.as_object().expect("an object").keys().collect();
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
