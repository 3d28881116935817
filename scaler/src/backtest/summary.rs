//! What a table with rivals comes to, in a few figures.

use super::matrix::{Judged, Run};

/// Shorter lead times than this are told apart: there any policy can follow.
const LONG_LEAD_TIME_S: f64 = 60.0;

/// Smallest excess over the bound that a ratio is taken of, as a share of the bound.
const LEAST_EXCESS: f64 = 0.001;

/// Ours against the best of the others, over all traces, lead times and seeds.
#[derive(Default)]
pub struct Summary {
    /// Hours above the bound over those of the best tuned rival, where both keep the promise.
    excess: Vec<(f64, String)>,
    /// Hours over those of the best rival at its defaults, where both keep the promise.
    hours: Vec<(f64, String)>,
    /// Where a rival keeps the promise and ours does not.
    worse: Vec<String>,
    /// Where nobody keeps it.
    hopeless: Vec<String>,
}

impl Summary {
    pub fn of(results: &[Judged<'_>]) -> Summary {
        let mut summary = Summary::default();
        for judged in results {
            for ours in &judged.ours {
                summary.take(judged, ours);
            }
        }
        summary
    }

    fn take(&mut self, judged: &Judged<'_>, ours: &Run) {
        let promised = judged.ground.scenario.attainment;
        let keeps = |run: &&Run| run.row.attainment >= promised;
        let cheapest = |tuned: bool| {
            let rivals = judged.rivals.iter().filter(|run| {
                run.row.seed == ours.row.seed && run.row.policy.ends_with("-tuned") == tuned
            });
            let hours = |a: &&Run, b: &&Run| a.row.instance_hours.total_cmp(&b.row.instance_hours);
            rivals.filter(keeps).min_by(hours)
        };
        let place = judged.ground.name();
        let (tuned, usual) = (cheapest(true), cheapest(false));
        if !keeps(&ours) {
            match tuned.or(usual) {
                Some(rival) => self.worse.push(format!("{place} ({})", rival.row.policy)),
                None => self.hopeless.push(place),
            }
            return;
        }
        if let Some(rival) = tuned
            && ours.row.lead_time_s >= LONG_LEAD_TIME_S
        {
            self.excess
                .push((excess(ours) / excess(rival), place.clone()));
        }
        if let Some(rival) = usual {
            let ratio = ours.row.instance_hours / rival.row.instance_hours;
            self.hours.push((ratio, place));
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut compare = |what: &str, ratios: &[(f64, String)]| {
            let worst = ratios.iter().max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((worst, place)) = worst {
                let logs: f64 = ratios.iter().map(|(ratio, _)| ratio.ln()).sum();
                let mean = (logs / ratios.len() as f64).exp();
                let count = ratios.len();
                lines.push(format!(
                    "{what}: {mean:.2} x in the geometric mean of {count}, {worst:.2} x at worst \
                     ({place})"
                ));
            }
        };
        compare(
            "Hours above the minimum against the best tuned rival, lead time 60 s or more",
            &self.excess,
        );
        compare("Hours against the best rival at its defaults", &self.hours);
        for (what, places) in [
            (
                "A rival keeps the promise and the policy does not",
                &self.worse,
            ),
            ("No policy keeps the promise", &self.hopeless),
        ] {
            if !places.is_empty() {
                lines.push(format!("{what}: {}", places.join("; ")));
            }
        }
        lines
    }
}

/// Hours above the bound, as a share of it.
fn excess(run: &Run) -> f64 {
    let row = &run.row;
    (row.instance_hours / row.lower_bound_hours - 1.0).max(LEAST_EXCESS)
}
