//! How much work a policy may leave undone and still reach the attainment.

use crate::sim::Scenario;

use super::work::Work;

/// The bound may fail with this probability.
const RISK: f64 = 1e-6;

/// The most slot-seconds that need not be done in time.
///
/// Let `B` be the misses that are left after the requests that miss in any case. At most `B` of
/// the others are late or never reach a worker; the longest `B` bound their work. Requests that
/// never reach a worker fall into this class before their service time is known to anyone, so each
/// is a hopeless one with the same probability `p`, whatever the policy has seen: before the
/// `B + 1`-th hopeful one there are at most `J` hopeless ones among them, where `J` is the
/// `1 - RISK` quantile of a negative binomial. The longest `J` bound their work.
pub(super) fn droppable_s(scenario: &Scenario, work: &Work) -> f64 {
    let allowed = ((1.0 - scenario.attainment) * work.requests() as f64) as usize;
    let hopeful = allowed.saturating_sub(work.hopeless.len());
    let share = scenario.service.longer_than(scenario.slo.as_secs_f64());
    let hopeless = most_hopeless(hopeful, share).min(work.hopeless.len());
    longest(&work.hopeful, hopeful) + longest(&work.hopeless, hopeless)
}

/// The smallest `j` that Chernoff's bound shows to be exceeded with less than [`RISK`]:
/// `j` or more hopeless ones before hopeful one `hopeful + 1` need `j` or more among the first
/// `hopeful + j`.
fn most_hopeless(hopeful: usize, share: f64) -> usize {
    if share <= 0.0 {
        return 0;
    }
    let within = |j: &usize| {
        let trials = (hopeful + j) as f64;
        let found = *j as f64 / trials;
        found > share && -trials * divergence(found, share) < RISK.ln()
    };
    // `j + 1` or more are too unlikely, so there are at most `j`.
    (1..).find(within).map_or(usize::MAX, |j| j - 1)
}

/// Kullback-Leibler divergence of two coins.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// Sum of the `count` largest.
fn longest(values: &[f32], count: usize) -> f64 {
    let mut values = values.to_vec();
    let count = count.min(values.len());
    if count == 0 {
        return 0.0;
    }
    let (longer, last, _) = values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    longer
        .iter()
        .chain([&*last])
        .map(|value| f64::from(*value))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_summed() {
        let values = [3.0, 9.0, 1.0, 5.0];
        assert_eq!(longest(&values, 2), 14.0);
        assert_eq!(longest(&values, 0), 0.0);
        assert_eq!(longest(&values, 9), 18.0);
    }

    #[test]
    fn few_of_the_unserved_are_hopeless() {
        // 100 hopeful ones at 1 %: one hopeless in the mean.
        assert!((5..=12).contains(&most_hopeless(100, 0.01)));
        assert!((100..=200).contains(&most_hopeless(10_000, 0.01)));
        assert_eq!(most_hopeless(100, 0.0), 0);
    }
}
