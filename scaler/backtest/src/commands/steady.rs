//! A policy under Poisson arrivals at a constant rate, where it should change nothing.

use std::time::Duration;

use crate::case::{Case, Mode};
use crate::trace;

use super::matrix::{Effort, Plan};
use super::pool;
use tidegate_process::Progress;

const SEED: u64 = 1;

/// How often the policy turned round, at one lead time.
pub struct Steady {
    pub lead_time: Duration,
    pub reversals_per_hour: f64,
}

/// Runs the policy alone, at the scenario's load.
pub fn run(plan: &Plan, lead_times: &[tidegate_config::Duration]) -> Vec<Steady> {
    let span = match plan.effort {
        Effort::Full => Duration::from_secs(4 * 3600),
        Effort::Quick => Duration::from_secs(3600),
    };
    let per_s = plan.scenario.busy_workers * plan.scenario.worker_rate();
    let demand = trace::constant(per_s, span.as_secs_f64());
    let name = |_: &tidegate_config::Duration| "constant load".to_owned();
    pool::map(
        lead_times,
        &Progress::new(lead_times.len(), pool::RUNS),
        name,
        |lead_time| {
            let scenario = plan.scenario.with_lead_time((*lead_time).into());
            let case = Case {
                trace: "constant",
                scenario: &scenario,
                demand: &demand,
                seed: SEED,
                mode: Mode::Exact,
            };
            Steady {
                lead_time: (*lead_time).into(),
                reversals_per_hour: case.run_policy(&plan.policy).reversals_per_hour,
            }
        },
    )
}
