//! What a table with rivals comes to, in a few figures.

mod equal_hours;

use super::matrix::{Judged, Run};
use super::steady::Steady;
use equal_hours::Curve;

/// Shorter lead times than this are told apart: there any policy can follow.
const LONG_LEAD_TIME_S: f64 = 60.0;

/// Up to here Knative's autoscaler is the one to hold against.
const SHORT_LEAD_TIME_S: f64 = 10.0;

const FOLLOWER: &str = "kpa";

/// Smallest excess over the bound that a ratio is taken of, as a share of the bound.
const LEAST_EXCESS: f64 = 0.001;

/// Ours against the others, over all traces, lead times and seeds.
#[derive(Default)]
pub struct Summary {
    /// Hours above the bound over those of the best tuned rival, where both keep the promise.
    excess: Ratios,
    /// Hours over those of the best rival at its defaults, where both keep the promise.
    hours: Ratios,
    /// Violations at the hours of the best tuned rival.
    violations: Ratios,
    /// The same against every other run, where nobody keeps the promise.
    elsewhere: Ratios,
    /// Where ours cannot be as cheap as the best tuned rival.
    dearer: Vec<String>,
    /// At short lead times: hours over those of the follower, and attainment less its, in points.
    follower_hours: Ratios,
    follower_points: Vec<(f64, String)>,
    /// Where a rival keeps the promise and ours does not.
    worse: Vec<String>,
    /// Where nobody keeps it.
    hopeless: Vec<String>,
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
            summary.take_sweep(judged);
        }
        let told = |steady: &Steady| {
            let lead_time = tidegate_config::Duration::from(steady.lead_time);
            format!("{:.1} at {lead_time}", steady.reversals_per_hour)
        };
        summary.steady = steady.iter().map(told).collect();
        summary
    }

    fn take(&mut self, judged: &Judged<'_>, ours: &Run) {
        let place = judged.ground.name();
        self.runs += 1;
        self.killed += ours.row.killed_in_flight;
        if ours.row.lead_time_s <= SHORT_LEAD_TIME_S {
            self.take_follower(judged, ours);
        }
        let rivals = || {
            judged
                .rivals
                .iter()
                .filter(|run| run.row.seed == ours.row.seed)
        };
        let keeps = |run: &&Run| run.row.attainment >= judged.ground.scenario.attainment;
        let tuned = cheapest(rivals().filter(|run| run.is_tuned()).filter(keeps));
        let usual = cheapest(rivals().filter(|run| !run.is_tuned()).filter(keeps));
        if !keeps(&ours) {
            match tuned.or(usual) {
                Some(rival) => self.worse.push(format!("{place} ({})", rival.row.policy)),
                None => self.hopeless.push(place),
            }
            return;
        }
        self.kept += 1;
        if let Some(rival) = tuned.filter(|_| ours.row.lead_time_s >= LONG_LEAD_TIME_S) {
            let ratio = excess(ours) / excess(rival);
            self.excess.push(ratio, &place, rival);
        }
        if let Some(rival) = usual {
            let ratio = ours.row.instance_hours / rival.row.instance_hours;
            self.hours.push(ratio, &place, rival);
        }
    }

    /// Against Knative's autoscaler, as it comes and tuned.
    fn take_follower(&mut self, judged: &Judged<'_>, ours: &Run) {
        let place = judged.ground.name();
        let followers = judged.rivals.iter().filter(|run| {
            let name = run.row.policy.as_str();
            run.row.seed == ours.row.seed && name.split('-').next() == Some(FOLLOWER)
        });
        for run in followers {
            let hours = ours.row.instance_hours / run.row.instance_hours;
            let points = (ours.row.attainment - run.row.attainment) * 100.0;
            self.follower_hours.push(hours, &place, run);
            let place = format!("{place}, {}", run.row.policy);
            self.follower_points.push((points, place));
        }
    }

    /// At equal hours, by the seed that is swept by.
    fn take_sweep(&mut self, judged: &Judged<'_>) {
        let Some(ours) = judged.ours.first() else {
            return;
        };
        let curve = Curve::ours(judged);
        let promised = judged.ground.scenario.attainment;
        let rivals = || {
            judged
                .rivals
                .iter()
                .filter(|run| run.row.seed == ours.row.seed)
        };
        let tuned = || rivals().filter(|run| run.is_tuned());
        let keeps = |run: &&Run| run.row.attainment >= promised;
        let place = judged.ground.name();
        self.hindsight
            .extend(judged.hindsight.map(|over| (over, place.clone())));
        let nearest = || tuned().max_by(|a, b| a.row.attainment.total_cmp(&b.row.attainment));
        if let Some(best) = cheapest(tuned().filter(keeps)).or_else(nearest) {
            match curve.against(best) {
                Some(ratio) => self.violations.push(ratio, &place, best),
                None => self.dearer.push(format!("{place} ({})", best.row.policy)),
            }
        }
        if !rivals().chain([ours]).any(|run| keeps(&run)) {
            for run in rivals() {
                if let Some(ratio) = curve.against(run) {
                    self.elsewhere.push(ratio, &place, run);
                }
            }
        }
    }

    pub fn lines(&self) -> Vec<String> {
        if self.runs == 0 {
            return Vec::new();
        }
        let ratios = [
            (
                "Hours above the minimum against the best tuned rival, lead time 60 s or more",
                &self.excess,
            ),
            ("Hours against the best rival at its defaults", &self.hours),
            (
                "Violations at the hours of the best tuned rival",
                &self.violations,
            ),
            (
                "Violations at equal hours where no policy keeps the promise",
                &self.elsewhere,
            ),
            (
                "Hours against Knative's autoscaler at 10 s",
                &self.follower_hours,
            ),
        ];
        let ratios = ratios
            .into_iter()
            .filter_map(|(what, ratios)| ratios.line(what));
        let worst = (self.follower_points.iter()).min_by(|a, b| a.0.total_cmp(&b.0));
        let points = worst.map(|(points, place)| {
            format!("Attainment less that of Knative's autoscaler at 10 s: {points:+.2} points at worst ({place})")
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
        let places = [
            (
                "A rival keeps the promise and the policy does not",
                &self.worse,
            ),
            ("No policy keeps the promise", &self.hopeless),
            (
                "At no target as cheap as the best tuned rival",
                &self.dearer,
            ),
        ];
        let places = places.into_iter().filter(|(_, places)| !places.is_empty());
        let places = places.map(|(what, places)| format!("{what}: {}", places.join("; ")));
        of_ours
            .into_iter()
            .chain(ratios)
            .chain(points)
            .chain(hindsight)
            .chain(places)
            .collect()
    }
}

/// Ratios with the place that each is from.
#[derive(Default)]
struct Ratios(Vec<(f64, String)>);

impl Ratios {
    fn push(&mut self, ratio: f64, place: &str, rival: &Run) {
        let place = format!("{place}, {}", rival.row.policy);
        self.0.push((ratio, place));
    }

    fn line(&self, what: &str) -> Option<String> {
        let (worst, place) = self.0.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
        let logs: f64 = self.0.iter().map(|(ratio, _)| ratio.ln()).sum();
        let count = self.0.len();
        let mean = (logs / count as f64).exp();
        let above = self.0.iter().filter(|(ratio, _)| *ratio > 1.0).count();
        Some(format!(
            "{what}: {mean:.2} x in the geometric mean of {count}, {worst:.2} x at worst \
             ({place}), above 1 in {above}"
        ))
    }
}

fn cheapest<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<&'a Run> {
    runs.min_by(|a, b| a.row.instance_hours.total_cmp(&b.row.instance_hours))
}

/// Hours above the bound, as a share of it.
fn excess(run: &Run) -> f64 {
    (run.row.over_bound()).max(LEAST_EXCESS)
}
