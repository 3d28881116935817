//! Values and how often each occurred: what percentiles are computed from, where averages would
//! have lost them.

use std::collections::BTreeMap;

/// Samples that are finite and not negative, by value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// By the value's bits, which for such values are ordered as the values are.
    counts: BTreeMap<u64, u64>,
}

impl Spread {
    /// Counts `value` `count` times; what is no number, or negative, is left out.
    pub fn add(&mut self, value: f64, count: u64) {
        if value.is_finite() && value >= 0.0 && count > 0 {
            // Zero has two signs, and the other one's bits are large.
            *self.counts.entry((value + 0.0).to_bits()).or_default() += count;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// At most `most` values with their counts, ascending. Where there are more, neighbours are
    /// united at the larger of the two, first those that move the fewest samples the least.
    pub fn values_and_counts(&self, most: usize) -> Vec<(f64, u64)> {
        let pairs = self.counts.iter();
        let mut pairs: Vec<(f64, u64)> = pairs
            .map(|(bits, count)| (f64::from_bits(*bits), *count))
            .collect();
        while pairs.len() > most.max(1) {
            let Some(cheapest) = cheapest_union(&pairs) else {
                break;
            };
            let (_, moved) = pairs.remove(cheapest);
            pairs[cheapest].1 += moved;
        }
        pairs
    }
}

/// The index of the pair that is united with the next at the least cost: samples times the share
/// by which they grow.
fn cheapest_union(pairs: &[(f64, u64)]) -> Option<usize> {
    let costs = pairs.windows(2).enumerate().map(|(index, pair)| {
        let (lower, upper) = (pair[0], pair[1]);
        let growth = (upper.0 - lower.0) / upper.0;
        (index, lower.1 as f64 * growth)
    });
    costs
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_what_is_no_number_is_none() {
        let mut spread = Spread::default();
        for value in [2.0, 0.0, -0.0, 2.0, f64::NAN, f64::INFINITY, -1.0] {
            spread.add(value, 1);
        }
        assert_eq!(spread.values_and_counts(150), [(0.0, 2), (2.0, 2)]);
    }

    #[test]
    fn too_many_values_are_united_without_losing_a_sample_or_a_percentile() {
        let mut spread = Spread::default();
        // A whole wire histogram with every bucket filled, most samples in the middle.
        for (index, bound) in tidegate_protocol::bounds().iter().enumerate() {
            let near = 170_i64 - (index as i64 - 170).abs();
            spread.add(*bound, 1 + (near * near) as u64);
        }
        let whole = spread.values_and_counts(usize::MAX);
        let few = spread.values_and_counts(150);
        assert_eq!(few.len(), 150);
        let count = |pairs: &[(f64, u64)]| pairs.iter().map(|pair| pair.1).sum::<u64>();
        assert_eq!(count(&few), count(&whole));
        for q in [0.5, 0.95, 0.99] {
            let (before, after) = (quantile(&whole, q), quantile(&few, q));
            assert!(
                (before..=before * 1.16).contains(&after),
                "{q}: {before} became {after}"
            );
        }
    }

    fn quantile(pairs: &[(f64, u64)], q: f64) -> f64 {
        let total: u64 = pairs.iter().map(|pair| pair.1).sum();
        let mut seen = 0;
        let found = pairs.iter().find(|pair| {
            seen += pair.1;
            seen as f64 >= q * total as f64
        });
        found.map_or(f64::NAN, |pair| pair.0)
    }
}
