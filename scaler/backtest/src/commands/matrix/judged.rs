//! The results of a test case, as rows.

use std::collections::BTreeMap;

use crate::case::Row;
use crate::rivals::{Rival, Setting};
use crate::sim::Outcome;

use super::sweep::{Figures, Swept};
use super::test_case::TestCase;
use super::{Found, Plan, TUNING_SEED};

/// One run and its row.
pub struct Run {
    pub row: Row,
    pub outcome: Outcome,
    /// Of a rival: whose, and at what.
    pub rival: Option<Rival>,
    pub setting: Option<Setting>,
}

impl Run {
    pub fn figures(&self) -> Figures {
        Figures::of(&self.outcome)
    }
}

/// All runs on one test case.
pub struct Judged<'a> {
    pub test_case: &'a TestCase,
    /// One for each seed.
    pub ours: Vec<Run>,
    pub rivals: Vec<Run>,
    /// At other targets; what is judged above is not among them.
    pub swept: Vec<Swept>,
    /// Hours above the bound of a schedule made with hindsight, as a share of it, by the first
    /// seed; `None` where none was found that keeps the promise.
    pub hindsight: Option<f64>,
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

/// What is put behind the name of a rival that was tuned.
const TUNED: &str = "-tuned";

/// Rows of what was run before tuning, and after it.
pub(super) fn judge<'a>(
    plan: &Plan,
    test_case: &'a TestCase,
    first: Vec<Found>,
    tuned: Vec<Found>,
) -> Judged<'a> {
    let bounds: BTreeMap<u64, f64> = (first.iter())
        .filter_map(|found| match found {
            Found::Bound(seed, hours) => Some((*seed, *hours)),
            _ => None,
        })
        .collect();
    let mut judged = Judged {
        test_case,
        ours: Vec::new(),
        rivals: Vec::new(),
        swept: Vec::new(),
        hindsight: None,
    };
    for (found, suffix) in (first.into_iter().map(|found| (found, "")))
        .chain(tuned.into_iter().map(|found| (found, TUNED)))
    {
        let (whose, seed, outcome) = match found {
            Found::Outcome(whose, seed, outcome) => (whose, seed, outcome),
            Found::Swept(swept) => {
                judged.swept.push(swept);
                continue;
            }
            Found::Hindsight(outcome) => {
                judged.hindsight = over_bound(test_case, &outcome, &bounds);
                continue;
            }
            Found::Bound(..) | Found::Tried(..) => continue,
        };
        let name = match whose {
            None => plan.name.clone(),
            Some((rival, _)) => format!("{}{suffix}", rival.name()),
        };
        let bound = bounds.get(&seed).copied().unwrap_or_default();
        let case = test_case.case(&test_case.judged_on, seed);
        let run = Run {
            row: Row::new(&name, &case, &outcome, bound).priced(plan.price_per_hour()),
            outcome: *outcome,
            rival: whose.map(|(rival, _)| rival),
            setting: whose.map(|(_, setting)| setting),
        };
        match whose {
            None => judged.ours.push(run),
            Some(_) => judged.rivals.push(run),
        }
    }
    judged
}

/// Of a schedule by the seed that is tuned by, where it keeps the promise.
fn over_bound(test_case: &TestCase, outcome: &Outcome, bounds: &BTreeMap<u64, f64>) -> Option<f64> {
    let bound = bounds.get(&TUNING_SEED).filter(|bound| **bound > 0.0)?;
    let keeps = outcome.attainment() >= test_case.scenario.attainment;
    keeps.then(|| outcome.instance_hours / bound - 1.0)
}
