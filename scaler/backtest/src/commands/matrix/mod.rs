//! The runs of a table: policies x traces x lead times x seeds.
//!
//! A test case is one trace at one lead time. Without rivals the policy is judged on all of it. With
//! rivals these are tuned on the first half (seed 1), ours runs through it untuned, and all are judged
//! on the second half, where the sweeps run too.

mod judged;
mod sweep;
mod test_case;

use crate::case::{Rank, best};
use crate::rivals::{Rival, Setting};
use crate::sim::{Outcome, Scenario};
use tidegate_config::Duration;
use tidegate_control::Policy;

pub use judged::{Judged, Run};
pub use sweep::{Figures, Swept};
pub use test_case::TestCase;

use super::inputs::{BadTrace, Trace};
use super::pool;
use tidegate_process::Progress;

/// Every so many-th of the rivals' settings is tried in a hurry.
const QUICK_STEP: usize = 3;

/// What is tuned and swept by.
const TUNING_SEED: u64 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Alone,
    Rivals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    Full,
    Quick,
}

pub struct Plan {
    pub policy: Policy,
    /// How the policy is called in tables: the stem of its file.
    pub name: String,
    pub scenario: Scenario,
    pub seeds: Vec<u64>,
    pub field: Field,
    pub effort: Effort,
}

/// What is run on a test case.
#[derive(Clone, Copy)]
enum Job {
    Bound(u64),
    Ours(u64),
    Rival(Rival, Setting, u64),
    Try(Rival, Setting),
    /// Ours with another attainment in mind.
    Sweep(f64),
    SweepRival(Rival, Setting),
    /// The schedule of somebody who knows every request.
    Hindsight,
}

enum Found {
    Bound(u64, f64),
    Outcome(Option<(Rival, Setting)>, u64, Box<Outcome>),
    Tried(Rival, Setting, Rank),
    Swept(Swept),
    Hindsight(Box<Outcome>),
}

impl Plan {
    pub fn test_cases(
        &self,
        traces: &[Trace],
        lead_times: &[Duration],
    ) -> Result<Vec<TestCase>, BadTrace> {
        let mut test_cases = Vec::new();
        for trace in traces {
            let demand = self.scenario.demand(&trace.demand);
            let demand = demand.ok_or_else(|| BadTrace::empty(&trace.name, &self.scenario))?;
            for lead_time in lead_times {
                let (tuned_on, judged_on) = match self.field {
                    Field::Alone => (None, demand.clone()),
                    Field::Rivals => {
                        let (first, second) = demand.halves();
                        (Some(first), second)
                    }
                };
                test_cases.push(TestCase {
                    trace: trace.name.clone(),
                    scenario: self.scenario.with_lead_time((*lead_time).into()),
                    recorded_s: trace.demand.span_s(),
                    tuned_on,
                    judged_on,
                });
            }
        }
        Ok(test_cases)
    }

    /// Test cases to be run together: with rivals each has runs enough for all cores.
    pub fn batches<'a>(&self, test_cases: &'a [TestCase]) -> std::slice::Chunks<'a, TestCase> {
        match self.field {
            Field::Alone => test_cases.chunks(test_cases.len().max(1)),
            Field::Rivals => test_cases.chunks(1),
        }
    }

    /// How many runs there will be.
    pub fn jobs(&self, test_cases: &[TestCase]) -> usize {
        let tuned = match self.field {
            Field::Alone => 0,
            Field::Rivals => {
                let targets = sweep::around(Rival::Hpa.defaults(), self.effort).len();
                Rival::ALL.len() * (self.seeds.len() + targets)
            }
        };
        test_cases.len() * (self.first_jobs().len() + tuned)
    }

    pub fn run<'a>(&self, test_cases: &'a [TestCase], progress: &Progress) -> Vec<Judged<'a>> {
        let first = self.first_jobs();
        let found = self.run_jobs(test_cases, progress, |_| first.clone());
        let second = |index: usize| self.second_jobs(&found[index]);
        let tuned = self.run_jobs(test_cases, progress, second);
        let found = found.into_iter().zip(tuned);
        let judged = test_cases.iter().zip(found);
        judged
            .map(|(test_case, (first, tuned))| judged::judge(self, test_case, first, tuned))
            .collect()
    }

    /// Of an instance-hour, if the policy says it.
    pub fn price_per_hour(&self) -> Option<f64> {
        self.policy.cost.map(|cost| cost.price_per_hour)
    }

    /// The jobs of every test case, all in one pool; what was found, by test case.
    fn run_jobs(
        &self,
        test_cases: &[TestCase],
        progress: &Progress,
        jobs: impl Fn(usize) -> Vec<Job>,
    ) -> Vec<Vec<Found>> {
        let all: Vec<(usize, Job)> = (0..test_cases.len())
            .flat_map(|index| jobs(index).into_iter().map(move |job| (index, job)))
            .collect();
        let name = |(index, _): &(usize, Job)| test_cases[*index].name();
        let results = pool::map(&all, progress, name, |(index, job)| {
            test_cases[*index].run(&self.policy, *job)
        });
        let mut by_test_case: Vec<Vec<Found>> = test_cases.iter().map(|_| Vec::new()).collect();
        for ((index, _), found) in all.into_iter().zip(results) {
            by_test_case[index].push(found);
        }
        by_test_case
    }

    /// What can be run before tuning is done.
    fn first_jobs(&self) -> Vec<Job> {
        let seeds = || self.seeds.iter().copied();
        let mut jobs: Vec<Job> = seeds().map(Job::Bound).collect();
        jobs.extend(seeds().map(Job::Ours));
        if self.field == Field::Rivals {
            let attainments = sweep::attainments(&self.policy, self.effort).into_iter();
            jobs.extend(attainments.map(Job::Sweep));
            jobs.push(Job::Hindsight);
            for rival in Rival::ALL {
                jobs.extend(seeds().map(|seed| Job::Rival(rival, rival.defaults(), seed)));
                let settings = self.settings(rival).into_iter();
                jobs.extend(settings.map(|setting| Job::Try(rival, setting)));
            }
        }
        jobs
    }

    fn settings(&self, rival: Rival) -> Vec<Setting> {
        let all = rival.settings().into_iter();
        match self.effort {
            Effort::Full => all.collect(),
            Effort::Quick => all.step_by(QUICK_STEP).collect(),
        }
    }

    /// Each rival at the setting that was best, and at other targets.
    fn second_jobs(&self, found: &[Found]) -> Vec<Job> {
        let tuned = Rival::ALL.into_iter().filter_map(|rival| {
            let tried = found.iter().filter_map(|found| match found {
                Found::Tried(of, setting, rank) if *of == rival => Some((*setting, *rank)),
                _ => None,
            });
            best(tried).map(|setting| (rival, setting))
        });
        let seeds = self.seeds.as_slice();
        tuned
            .flat_map(|(rival, setting)| {
                let run = move |seed: &u64| Job::Rival(rival, setting, *seed);
                let others = sweep::around(setting, self.effort).into_iter();
                let others = others.map(move |other| Job::SweepRival(rival, other));
                seeds.iter().map(run).chain(others)
            })
            .collect()
    }
}
