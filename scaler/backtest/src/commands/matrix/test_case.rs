//! One trace at one lead time, and one run on it.

use crate::bound::oracle;
use crate::case::{Case, Mode, Rank};
use crate::sim::{Outcome, Scenario};
use crate::trace::Demand;
use tidegate_control::Policy;

use super::sweep::{Figures, Swept, with_attainment};
use super::{Found, Job, TUNING_SEED};

/// One trace at one lead time.
pub struct TestCase {
    pub trace: String,
    pub scenario: Scenario,
    /// How long the whole trace is.
    pub recorded_s: f64,
    pub tuned_on: Option<Demand>,
    pub judged_on: Demand,
}

impl TestCase {
    /// As progress names it.
    pub fn name(&self) -> String {
        format!("{} at {}", self.trace, self.scenario.lead_time)
    }

    pub(super) fn case<'a>(&'a self, demand: &'a Demand, seed: u64) -> Case<'a> {
        Case {
            trace: &self.trace,
            scenario: &self.scenario,
            demand,
            seed,
            mode: Mode::Exact,
        }
    }

    /// Where rivals were tuned on what came before, ours has lived through it.
    fn run_ours(&self, policy: &Policy, seed: u64) -> Outcome {
        let case = self.case(&self.judged_on, seed);
        match &self.tuned_on {
            Some(before) => case.run_policy_after(before, policy),
            None => case.run_policy(policy),
        }
    }

    pub(super) fn run(&self, policy: &Policy, job: Job) -> Found {
        let judged = |seed| self.case(&self.judged_on, seed);
        match job {
            Job::Bound(seed) => Found::Bound(seed, judged(seed).lower_bound_hours()),
            Job::Ours(seed) => {
                let outcome = self.run_ours(policy, seed);
                Found::Outcome(None, seed, Box::new(outcome))
            }
            Job::Rival(rival, setting, seed) => {
                let outcome = judged(seed).run_rival(rival, setting);
                Found::Outcome(Some((rival, setting)), seed, Box::new(outcome))
            }
            Job::Try(rival, setting) => {
                let demand = self.tuned_on.as_ref().unwrap_or(&self.judged_on);
                let outcome = self.case(demand, TUNING_SEED).run_rival(rival, setting);
                Found::Tried(rival, setting, Rank::of(&outcome, &self.scenario))
            }
            Job::Sweep(target) => {
                let policy = with_attainment(policy, target);
                let outcome = self.run_ours(&policy, TUNING_SEED);
                Found::Swept(Swept {
                    rival: None,
                    target,
                    figures: Figures::of(&outcome),
                })
            }
            Job::Hindsight => {
                let outcome = oracle(&self.scenario, &self.judged_on, TUNING_SEED);
                Found::Hindsight(Box::new(outcome))
            }
            Job::SweepRival(rival, setting) => {
                let outcome = judged(TUNING_SEED).run_rival(rival, setting);
                Found::Swept(Swept {
                    rival: Some(rival),
                    target: setting.target,
                    figures: Figures::of(&outcome),
                })
            }
        }
    }
}
