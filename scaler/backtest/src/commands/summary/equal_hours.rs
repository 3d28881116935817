//! Policies at equal hours: each is swept over its target, and its misses at these hours are
//! interpolated between two points of the sweep.

use crate::commands::matrix::{Figures, Judged, Run};
use crate::rivals::Rival;

/// Fewer violations than this, as a share of arrivals, count as the same.
const LEAST_VIOLATIONS: f64 = 1e-4;

/// A policy by hours, from the fewest on: what costs more and misses more than another is left out.
pub struct Curve {
    points: Vec<Figures>,
}

impl Curve {
    /// Of ours, as swept and as it is.
    pub fn ours(judged: &Judged<'_>) -> Curve {
        let swept = judged.swept.iter().filter(|swept| swept.rival.is_none());
        let first = judged.ours.first().map(Run::figures);
        Curve::through(swept.map(|swept| swept.figures).chain(first))
    }

    /// Of a rival: as swept, at its defaults and tuned.
    fn theirs(judged: &Judged<'_>, rival: Rival) -> Curve {
        let swept = judged.swept.iter();
        let swept = swept.filter(|swept| swept.rival == Some(rival));
        let runs = judged.rivals.iter().filter(|run| run.rival == Some(rival));
        Curve::through(
            swept
                .map(|swept| swept.figures)
                .chain(runs.map(Run::figures)),
        )
    }

    fn through(points: impl Iterator<Item = Figures>) -> Curve {
        let mut points: Vec<Figures> = points.collect();
        points.sort_by(|a, b| a.hours.total_cmp(&b.hours));
        let mut fewest = f64::INFINITY;
        points.retain(|point| {
            let is_better = point.violations < fewest;
            fewest = fewest.min(point.violations);
            is_better
        });
        Curve { points }
    }

    /// Violations at so many hours, on the line between the logarithms of the two points around
    /// them; with more hours than any point has, those of the last. `None` with fewer than any.
    fn violations_at(&self, hours: f64) -> Option<f64> {
        let after = self.points.partition_point(|point| point.hours <= hours);
        let low = self.points.get(after.checked_sub(1)?)?;
        let Some(high) = self.points.get(after) else {
            return Some(low.violations);
        };
        let share = (hours - low.hours) / (high.hours - low.hours);
        let log = |point: &Figures| point.violations.max(LEAST_VIOLATIONS).ln();
        Some((log(low) + share * (log(high) - log(low))).exp())
    }
}

/// Our violations with so many hours over those of the rival that has the fewest with as many; `None`
/// where ours cannot be as cheap.
pub fn against_fewest(judged: &Judged<'_>, hours: f64) -> Option<f64> {
    let ours = Curve::ours(judged).violations_at(hours)?;
    let theirs = Rival::ALL
        .into_iter()
        .filter_map(|rival| Curve::theirs(judged, rival).violations_at(hours))
        .min_by(f64::total_cmp)?;
    Some(ours.max(LEAST_VIOLATIONS) / theirs.max(LEAST_VIOLATIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_read_off_between_two_points() {
        let point = |(hours, violations)| Figures { hours, violations };
        // More hours and more misses than another: not what it can do.
        let points = [(10.0, 0.1), (20.0, 0.001), (15.0, 0.2)].map(point);
        let curve = Curve::through(points.into_iter());
        for (hours, expected) in [(15.0, 0.01), (10.0, 0.1), (99.0, 0.001)] {
            let found = curve.violations_at(hours).expect("it can be as cheap");
            assert!((found - expected).abs() < 1e-9, "{hours} h: {found}");
        }
        assert_eq!(curve.violations_at(9.0), None);
    }
}
