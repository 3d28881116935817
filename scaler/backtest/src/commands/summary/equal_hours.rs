//! Policies at equal hours: ours is swept over its attainment, and what it would miss at the hours
//! of another policy is read off between two points of the sweep.

use crate::commands::matrix::{Figures, Judged, Run};

/// Fewer violations than this, as a share of arrivals, are not told apart.
const LEAST_VIOLATIONS: f64 = 1e-5;

/// Ours by hours, from the fewest on: what costs more and misses more than another is left out.
pub struct Curve {
    points: Vec<Figures>,
}

impl Curve {
    /// Of ours, as swept and as it is.
    pub fn ours(judged: &Judged<'_>) -> Curve {
        let swept = judged.swept.iter().filter(|swept| swept.rival.is_none());
        let first = judged.ours.first().map(Run::figures);
        let mut points: Vec<Figures> = swept.map(|swept| swept.figures).chain(first).collect();
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
    pub fn violations_at(&self, hours: f64) -> Option<f64> {
        let after = self.points.partition_point(|point| point.hours <= hours);
        let low = self.points.get(after.checked_sub(1)?)?;
        let Some(high) = self.points.get(after) else {
            return Some(low.violations);
        };
        let share = (hours - low.hours) / (high.hours - low.hours);
        let log = |point: &Figures| point.violations.max(LEAST_VIOLATIONS).ln();
        Some((log(low) + share * (log(high) - log(low))).exp())
    }

    /// Our violations over those of a run that costs the same; `None` where ours cannot be as
    /// cheap.
    pub fn against(&self, run: &Run) -> Option<f64> {
        let theirs = run.figures();
        let ours = self.violations_at(theirs.hours)?;
        Some(ours.max(LEAST_VIOLATIONS) / theirs.violations.max(LEAST_VIOLATIONS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(hours: f64, violations: f64) -> Figures {
        Figures { hours, violations }
    }

    #[test]
    fn what_is_missed_is_read_off_between_two_points() {
        let curve = Curve {
            points: vec![point(10.0, 0.1), point(20.0, 0.001)],
        };
        for (hours, expected) in [(15.0, 0.01), (10.0, 0.1), (99.0, 0.001)] {
            let found = curve.violations_at(hours).expect("ours can be as cheap");
            assert!((found - expected).abs() < 1e-9, "{hours} h: {found}");
        }
        assert_eq!(curve.violations_at(9.0), None);
    }
}
