//! The summary of a table with rivals.
//!
//! It separates traces on which constants of the law were chosen from those that are new to it, and long
//! lead times from short ones, at which any policy can follow the demand.

mod equal_hours;
mod score;

use std::collections::BTreeMap;

use super::matrix::{Judged, Run};
use super::split::Part;
use super::steady::Steady;
use score::Score;

/// Shorter lead times than this are summed up apart: any policy can follow at those.
const LONG_LEAD_TIME_S: f64 = 60.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lead {
    Long,
    Short,
}

/// Ours against the others, over all traces, lead times and seeds.
#[derive(Default)]
pub struct Summary {
    scores: BTreeMap<(Lead, Part), Score>,
    /// Hours above the bound of schedules made with hindsight.
    hindsight: Vec<(f64, String)>,
    kept: usize,
    runs: usize,
    killed: u64,
    steady: Vec<String>,
}

impl Summary {
    pub fn of(results: &[Judged<'_>], steady: &[Steady]) -> Summary {
        let mut summary = Summary::default();
        for judged in results.iter().filter(|judged| !judged.rivals.is_empty()) {
            for ours in &judged.ours {
                summary.take(judged, ours);
            }
            let place = judged.test_case.name();
            let over = judged.hindsight.map(|over| (over, place));
            summary.hindsight.extend(over);
        }
        let text = |steady: &Steady| {
            let lead_time = tidegate_config::Duration::from(steady.lead_time);
            format!("{:.1} at {lead_time}", steady.reversals_per_hour)
        };
        summary.steady = steady.iter().map(text).collect();
        summary
    }

    fn take(&mut self, judged: &Judged<'_>, ours: &Run) {
        self.runs += 1;
        self.killed += ours.row.killed_in_flight;
        let kept = ours.row.attainment >= judged.test_case.scenario.attainment;
        self.kept += usize::from(kept);
        let lead = match ours.row.lead_time_s >= LONG_LEAD_TIME_S {
            true => Lead::Long,
            false => Lead::Short,
        };
        let group = (lead, Part::of(&judged.test_case.trace));
        self.scores.entry(group).or_default().take(judged, ours);
    }

    pub fn lines(&self) -> Vec<String> {
        if self.runs == 0 {
            return Vec::new();
        }
        let scores = self.scores.iter().filter_map(|((lead, part), score)| {
            let leads = match lead {
                Lead::Long => "lead time 60 s or more",
                Lead::Short => "shorter lead times",
            };
            Some(format!("{}, {leads}: {}", part.name(), score.line()?))
        });
        let most = (self.hindsight.iter()).max_by(|a, b| a.0.total_cmp(&b.0));
        let hindsight = most.map(|(worst, place)| {
            let count = self.hindsight.len();
            let mean = self.hindsight.iter().map(|(over, _)| over).sum::<f64>() / count as f64;
            format!(
                "A schedule made with hindsight: {:+.1} % above the minimum in the mean of {count}, \
                 {:+.1} % at worst ({place})",
                mean * 100.0,
                worst * 100.0
            )
        });
        let (kept, runs, killed) = (self.kept, self.runs, self.killed);
        let of_ours = [
            format!("Runs in which the policy keeps the promise: {kept} of {runs}"),
            format!("Requests killed in flight: {killed}"),
            format!(
                "Reversals an hour at constant load: {}",
                self.steady.join(", ")
            ),
        ];
        scores.chain(of_ours).chain(hindsight).collect()
    }
}
