//! One line for a group of test cases: what the policy costs and misses beside the best rival.
//!
//! The best rival is the cheapest run that meets the SLO, tuned or at its defaults. If a rival meets it
//! and the policy does not, the test case is lost, and counts as [`LOST`] times the rival's cost.

use crate::commands::matrix::{Judged, Run};

use super::equal_hours;

/// What a lost test case counts as, in hours and in hours above the minimum.
const LOST: f64 = 2.0;

/// Smallest excess over the bound that a ratio is taken of, as a share of the bound.
const LEAST_EXCESS: f64 = 0.001;

/// Ratios and the sums that they are of.
#[derive(Default)]
pub struct Score {
    test_cases: usize,
    /// Where a rival keeps the promise: hours of the policy, and of the best rival.
    hours: (f64, f64),
    /// Hours above the minimum over those of the best rival, in the logarithm.
    excess: Vec<f64>,
    lost: Vec<String>,
    /// Where the policy keeps the promise and no rival does, or nobody.
    won: usize,
    hopeless: usize,
    attainments: Vec<f64>,
    /// At the hours of the best rival, over those of the rival that then has the fewest.
    misses: Vec<f64>,
    /// Where the policy cannot be as cheap at any attainment.
    dearer: usize,
}

impl Score {
    /// Takes in the runs by one seed.
    pub fn take(&mut self, judged: &Judged<'_>, ours: &Run) {
        self.test_cases += 1;
        let promised = judged.test_case.scenario.attainment;
        let keeps = |run: &Run| run.row.attainment >= promised;
        let rivals = || {
            let rivals = judged.rivals.iter();
            rivals.filter(|run| run.row.seed == ours.row.seed)
        };
        let hours = |run: &Run| run.row.instance_hours;
        let best = rivals().filter(|run| keeps(run));
        let best = best.min_by(|a, b| hours(a).total_cmp(&hours(b)));
        match best {
            Some(best) => self.compare(judged, ours, best, keeps(ours)),
            None if keeps(ours) => self.won += 1,
            None => self.hopeless += 1,
        }
        if best.is_some() || keeps(ours) {
            self.attainments.push(ours.row.attainment);
        }
        let nearest = || rivals().max_by(|a, b| a.row.attainment.total_cmp(&b.row.attainment));
        // Sweeps are by the first seed.
        let is_swept = judged.ours.first().map(|run| run.row.seed) == Some(ours.row.seed);
        if let Some(equal) = best.or_else(nearest).filter(|_| is_swept) {
            match equal_hours::against_fewest(judged, hours(equal)) {
                Some(ratio) => self.misses.push(ratio.ln()),
                None => self.dearer += 1,
            }
        }
    }

    fn compare(&mut self, judged: &Judged<'_>, ours: &Run, best: &Run, kept: bool) {
        let theirs = best.row.instance_hours;
        let (hours, excess) = match kept {
            true => (ours.row.instance_hours, excess(ours) / excess(best)),
            false => (LOST * theirs, LOST),
        };
        self.hours.0 += hours;
        self.hours.1 += theirs;
        self.excess.push(excess.ln());
        if !kept {
            let (place, rival) = (judged.test_case.name(), &best.row.policy);
            let share = ours.row.attainment * 100.0;
            self.lost.push(format!("{place} ({share:.2} %, {rival})"));
        }
    }

    /// `None` where there was nothing to compare.
    pub fn line(&self) -> Option<String> {
        if self.test_cases == 0 {
            return None;
        }
        let mean = |logs: &[f64]| match logs.is_empty() {
            true => "-".to_owned(),
            false => format!(
                "{:.2} x",
                (logs.iter().sum::<f64>() / logs.len() as f64).exp()
            ),
        };
        let hours = match self.hours.1 > 0.0 {
            true => format!("{:.2} x", self.hours.0 / self.hours.1),
            false => "-".to_owned(),
        };
        let more = self.misses.iter().filter(|log| **log > 0.0).count() + self.dearer;
        let kept = self.attainments.iter().sum::<f64>() / self.attainments.len().max(1) as f64;
        let lost = match self.lost.is_empty() {
            true => "0 lost".to_owned(),
            false => format!("{} lost: {}", self.lost.len(), self.lost.join("; ")),
        };
        Some(format!(
            "hours {hours}, excess over the minimum {}, misses at equal hours {} (more in {more} of {}), \
             attainment {:.2} % in the mean where it can be had; of {} cases {} won, {} hopeless, {lost}",
            mean(&self.excess),
            mean(&self.misses),
            self.misses.len() + self.dearer,
            kept * 100.0,
            self.test_cases,
            self.won,
            self.hopeless,
        ))
    }
}

/// Hours above the bound, as a share of it.
fn excess(run: &Run) -> f64 {
    (run.row.over_bound()).max(LEAST_EXCESS)
}
