//! What a policy is tuned on: each trace at each lead time, in halves.

use crate::bound::lower_bound_hours;
use crate::case::{Case, Mode, agree};
use crate::sim::{Outcome, Scenario, can_be_rated};
use crate::trace::Demand;
use tidegate_control::Policy;

use crate::commands::args::TuneArgs;
use crate::commands::inputs::{self, BadTrace, Trace};
use crate::commands::pool;
use tidegate_process::Progress;

/// A missed point of the promise costs as much as so many times the least hours.
const POINT_COSTS: f64 = 1.0;

const SEED: u64 = 1;

pub struct TestCase {
    pub name: String,
    pub scenario: Scenario,
    /// How the search simulates.
    pub mode: Mode,
    pub first: Half,
    pub second: Half,
}

pub struct Half {
    pub demand: Demand,
    pub bound_hours: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub attainment: f64,
    pub hours: f64,
    /// Hours over the bound, and what is missed of the promise.
    pub cost: f64,
}

pub fn read(args: &TuneArgs) -> anyhow::Result<Vec<TestCase>> {
    let scenario = inputs::scenario(&args.scenario)?;
    let lead_times = match args.lead_time.is_empty() {
        true => &scenario.lead_times,
        false => &args.lead_time,
    };
    let mut test_cases = Vec::new();
    for trace in inputs::traces(&args.trace, args.replay)? {
        let demand = scenario.demand(&trace.demand);
        let Trace { name, .. } = &trace;
        let demand = demand.ok_or_else(|| BadTrace::empty(name, &scenario))?;
        for lead_time in lead_times {
            let scenario = scenario.with_lead_time((*lead_time).into());
            let (first, second) = demand.halves();
            test_cases.push(TestCase {
                name: format!("{name} at {lead_time}"),
                mode: Mode::Exact,
                first: Half::new(&scenario, first),
                second: Half::new(&scenario, second),
                scenario,
            });
        }
    }
    Ok(test_cases)
}

impl Half {
    fn new(scenario: &Scenario, demand: Demand) -> Half {
        let bound_hours = lower_bound_hours(scenario, &demand, SEED);
        Half {
            demand,
            bound_hours,
        }
    }
}

impl TestCase {
    /// The rate mode is used where it agrees with requests one by one on the policy to begin with.
    pub fn choose_mode(&mut self, policy: &Policy) {
        let run = |mode| self.run(&self.first, policy, mode);
        if can_be_rated(&self.scenario) && agree(&run(Mode::Exact), &run(Mode::Rate)) {
            self.mode = Mode::Rate;
        }
    }

    pub fn judge(&self, half: &Half, policy: &Policy, mode: Mode) -> Judged {
        let outcome = self.run(half, policy, mode);
        let (attainment, hours) = (outcome.attainment(), outcome.instance_hours);
        let missed_points = (self.scenario.attainment - attainment).max(0.0) * 100.0;
        Judged {
            attainment,
            hours,
            cost: hours / half.bound_hours.max(1e-9) + missed_points * POINT_COSTS,
        }
    }

    fn run(&self, half: &Half, policy: &Policy, mode: Mode) -> Outcome {
        let case = Case {
            trace: &self.name,
            scenario: &self.scenario,
            demand: &half.demand,
            seed: SEED,
            mode,
        };
        case.run_policy(policy)
    }
}

/// The mean cost over the first halves, as the search sees it.
pub fn cost(test_cases: &[TestCase], policy: &Policy) -> f64 {
    let judged = test_cases.iter().map(|test_case| {
        test_case
            .judge(&test_case.first, policy, test_case.mode)
            .cost
    });
    judged.sum::<f64>() / test_cases.len().max(1) as f64
}

/// The mean cost over the first halves, requests one by one.
pub fn exact_cost(test_cases: &[TestCase], policy: &Policy) -> f64 {
    let judged = test_cases
        .iter()
        .map(|test_case| test_case.judge(&test_case.first, policy, Mode::Exact).cost);
    judged.sum::<f64>() / test_cases.len().max(1) as f64
}

/// [`cost`] of each policy, all runs in one pool.
pub fn costs(test_cases: &[TestCase], policies: &[Policy], progress: &Progress) -> Vec<f64> {
    let jobs: Vec<(&Policy, &TestCase)> = (policies.iter())
        .flat_map(|policy| test_cases.iter().map(move |test_case| (policy, test_case)))
        .collect();
    let name = |(_, test_case): &(&Policy, &TestCase)| test_case.name.clone();
    let found = pool::map(&jobs, progress, name, |(policy, test_case)| {
        test_case
            .judge(&test_case.first, policy, test_case.mode)
            .cost
    });
    let per_policy = found.chunks(test_cases.len().max(1));
    per_policy
        .map(|costs| costs.iter().sum::<f64>() / costs.len() as f64)
        .collect()
}
