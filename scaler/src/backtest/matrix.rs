//! The runs of a table: policies x traces x lead times x seeds.
//!
//! A ground is one trace at one lead time. Alone, a policy is judged on all of it. With rivals,
//! these are tuned on its first half (seed 1), and everybody is judged on its second half.

use std::collections::BTreeMap;

use tidegate_config::Duration;
use tidegate_control::Policy;
use tidegate_control::backtest::{Case, Mode, Rank, Row, best};
use tidegate_control::rivals::{Rival, Setting};
use tidegate_control::sim::{Outcome, Scenario};
use tidegate_control::trace::Demand;

use super::inputs::{BadTrace, Trace};
use super::pool::{self, Progress};

/// How the tested policy is called.
pub const OURS: &str = "tidegate";

/// Every so many-th of the rivals' settings is tried in a hurry.
const QUICK_STEP: usize = 3;

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
    pub scenario: Scenario,
    pub seeds: Vec<u64>,
    pub field: Field,
    pub effort: Effort,
}

/// One trace at one lead time.
pub struct Ground {
    pub trace: String,
    pub scenario: Scenario,
    /// How long the whole trace is.
    pub recorded_s: f64,
    pub tuned_on: Option<Demand>,
    pub judged_on: Demand,
}

/// One run and its row.
pub struct Run {
    pub row: Row,
    pub outcome: Outcome,
    /// Of a rival.
    pub setting: Option<Setting>,
}

/// All runs on one ground.
pub struct Judged<'a> {
    pub ground: &'a Ground,
    /// One for each seed.
    pub ours: Vec<Run>,
    pub rivals: Vec<Run>,
}

/// What is run on a ground.
#[derive(Clone, Copy)]
enum Job {
    Bound(u64),
    Ours(u64),
    Rival(Rival, Setting, u64),
    Try(Rival, Setting),
}

enum Found {
    Bound(u64, f64),
    Outcome(Option<(Rival, Setting)>, u64, Box<Outcome>),
    Tried(Rival, Setting, Rank),
}

impl Plan {
    pub fn grounds(
        &self,
        traces: &[Trace],
        lead_times: &[Duration],
    ) -> Result<Vec<Ground>, BadTrace> {
        let mut grounds = Vec::new();
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
                grounds.push(Ground {
                    trace: trace.name.clone(),
                    scenario: self.scenario.with_lead_time((*lead_time).into()),
                    recorded_s: trace.demand.span_s(),
                    tuned_on,
                    judged_on,
                });
            }
        }
        Ok(grounds)
    }

    /// Grounds to be run together: with rivals each has runs enough for all cores.
    pub fn batches<'a>(&self, grounds: &'a [Ground]) -> std::slice::Chunks<'a, Ground> {
        match self.field {
            Field::Alone => grounds.chunks(grounds.len().max(1)),
            Field::Rivals => grounds.chunks(1),
        }
    }

    /// How many runs there will be.
    pub fn jobs(&self, grounds: &[Ground]) -> usize {
        let tuned = match self.field {
            Field::Alone => 0,
            Field::Rivals => Rival::ALL.len() * self.seeds.len(),
        };
        grounds.len() * (self.first_jobs().len() + tuned)
    }

    pub fn run<'a>(&self, grounds: &'a [Ground], progress: &Progress) -> Vec<Judged<'a>> {
        let first = self.first_jobs();
        let found = self.run_jobs(grounds, progress, |_| first.clone());
        let second = |index: usize| self.second_jobs(&found[index]);
        let tuned = self.run_jobs(grounds, progress, second);
        let found = found.into_iter().zip(tuned);
        let judged = grounds.iter().zip(found);
        judged
            .map(|(ground, (first, tuned))| judge(ground, first, tuned))
            .collect()
    }

    /// The jobs of every ground, all in one pool; what was found, by ground.
    fn run_jobs(
        &self,
        grounds: &[Ground],
        progress: &Progress,
        jobs: impl Fn(usize) -> Vec<Job>,
    ) -> Vec<Vec<Found>> {
        let all: Vec<(usize, Job)> = (0..grounds.len())
            .flat_map(|index| jobs(index).into_iter().map(move |job| (index, job)))
            .collect();
        let name = |(index, _): &(usize, Job)| grounds[*index].name();
        let results = pool::map(&all, progress, name, |(index, job)| {
            grounds[*index].run(&self.policy, *job)
        });
        let mut by_ground: Vec<Vec<Found>> = grounds.iter().map(|_| Vec::new()).collect();
        for ((index, _), found) in all.into_iter().zip(results) {
            by_ground[index].push(found);
        }
        by_ground
    }

    /// What can be run before tuning is done.
    fn first_jobs(&self) -> Vec<Job> {
        let seeds = || self.seeds.iter().copied();
        let mut jobs: Vec<Job> = seeds().map(Job::Bound).collect();
        jobs.extend(seeds().map(Job::Ours));
        if self.field == Field::Rivals {
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

    /// Each rival at the setting that was best.
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
                seeds.iter().map(run)
            })
            .collect()
    }
}

impl Ground {
    /// As progress names it.
    pub fn name(&self) -> String {
        format!("{} at {}", self.trace, self.scenario.lead_time)
    }

    fn case<'a>(&'a self, demand: &'a Demand, seed: u64) -> Case<'a> {
        Case {
            trace: &self.trace,
            scenario: &self.scenario,
            demand,
            seed,
            mode: Mode::Exact,
        }
    }

    fn run(&self, policy: &Policy, job: Job) -> Found {
        let judged = |seed| self.case(&self.judged_on, seed);
        match job {
            Job::Bound(seed) => Found::Bound(seed, judged(seed).lower_bound_hours()),
            Job::Ours(seed) => {
                let outcome = judged(seed).run_policy(policy);
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
        }
    }
}

impl Judged<'_> {
    /// Ours first.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.ours.iter().chain(&self.rivals)
    }

    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.runs().map(|run| &run.row)
    }
}

/// Rows of what was run before tuning, and after it.
fn judge(ground: &Ground, first: Vec<Found>, tuned: Vec<Found>) -> Judged<'_> {
    let bounds: BTreeMap<u64, f64> = (first.iter())
        .filter_map(|found| match found {
            Found::Bound(seed, hours) => Some((*seed, *hours)),
            _ => None,
        })
        .collect();
    let mut judged = Judged {
        ground,
        ours: Vec::new(),
        rivals: Vec::new(),
    };
    for (found, suffix) in (first.into_iter().map(|found| (found, "")))
        .chain(tuned.into_iter().map(|found| (found, "-tuned")))
    {
        let Found::Outcome(whose, seed, outcome) = found else {
            continue;
        };
        let name = match whose {
            None => OURS.to_owned(),
            Some((rival, _)) => format!("{}{suffix}", rival.name()),
        };
        let bound = bounds.get(&seed).copied().unwrap_or_default();
        let case = ground.case(&ground.judged_on, seed);
        let run = Run {
            row: Row::new(&name, &case, &outcome, bound),
            outcome: *outcome,
            setting: whose.map(|(_, setting)| setting),
        };
        match whose {
            None => judged.ours.push(run),
            Some(_) => judged.rivals.push(run),
        }
    }
    judged
}
