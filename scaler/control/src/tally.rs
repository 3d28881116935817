//! Counts of durations by the buckets of [`tidegate_protocol::bounds`], few of them filled.
//!
//! A tick's share of a latency histogram fills a handful of buckets; this keeps only those, in
//! memory and in the ledger.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_protocol::{Histogram, bound_ms, bounds};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Counts by bucket, not cumulative; empty buckets are left out.
    #[serde(deserialize_with = "by_name")]
    buckets: BTreeMap<u16, u64>,
    sum_ms: f64,
}

/// JSON names buckets by text. Inside of a ledger's line serde has read it already when a tally is
/// made of it, and turns no text into a number any more.
fn by_name<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u16, u64>, D::Error> {
    let named = BTreeMap::<String, u64>::deserialize(from)?;
    let numbered = named.into_iter().map(|(name, count)| {
        let bucket = name.parse().ok().map(|bucket| (bucket, count));
        bucket.ok_or_else(|| D::Error::custom(format!("\"{name}\" names no bucket")))
    });
    numbered.collect()
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
        self.sum_ms += other.sum_ms;
    }

    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The filled buckets, ascending: upper bound in milliseconds, and count.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let filled = self.buckets.iter();
        filled.map(|(bucket, count)| (bound_ms(usize::from(*bucket)), *count))
    }

    /// Filled buckets, the shortest first: from, to, and how many.
    pub fn spans(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.buckets.iter().map(|(bucket, count)| {
            let lower_ms = bucket.checked_sub(1).map_or(0.0, |b| bound_ms(b.into()));
            (lower_ms, bound_ms((*bucket).into()), *count)
        })
    }

    /// Forgets half of what was counted; what is odd goes to the next shorter ones, so that a thin
    /// tail is not lost.
    pub(crate) fn halve(&mut self) {
        let mut odd = 0;
        for count in self.buckets.values_mut().rev() {
            let all = *count + odd;
            (*count, odd) = (all / 2, all % 2);
        }
        self.buckets.retain(|_, count| *count > 0);
        self.sum_ms /= 2.0;
    }

    /// How many lie in buckets that end by `limit_ms`.
    pub fn count_within_ms(&self, limit_ms: f64) -> u64 {
        let within = |bucket: &&u16| bound_ms(usize::from(**bucket)) <= limit_ms;
        let filled = self.buckets.iter();
        filled
            .filter(|(bucket, _)| within(bucket))
            .map(|(_, count)| count)
            .sum()
    }

    /// Upper bound in milliseconds of the bucket that holds quantile `q` (0 to 1) by nearest
    /// rank; `None` when nothing was counted.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        bucket.map(|(bucket, _)| bound_ms(usize::from(*bucket)))
    }

    /// Mean in milliseconds; `None` when nothing was counted.
    pub fn mean_ms(&self) -> Option<f64> {
        match self.count() {
            0 => None,
            count => Some(self.sum_ms / count as f64),
        }
    }
}

/// The sum of many, by way of all buckets at once: much faster than one by one.
impl<'a> FromIterator<&'a Tally> for Tally {
    fn from_iter<I: IntoIterator<Item = &'a Tally>>(tallies: I) -> Self {
        let mut counts = vec![0; bounds().len()];
        let mut sum_ms = 0.0;
        for tally in tallies {
            for (bucket, count) in &tally.buckets {
                // A ledger may name buckets that there are not.
                let last = counts.len() - 1;
                counts[usize::from(*bucket).min(last)] += count;
            }
            sum_ms += tally.sum_ms;
        }
        Tally {
            buckets: filled(&counts),
            sum_ms,
        }
    }
}

/// The buckets that hold anything.
fn filled(counts: &[u64]) -> BTreeMap<u16, u64> {
    let counts = counts.iter().zip(0..);
    (counts.filter(|(count, _)| **count > 0))
        .map(|(count, bucket)| (bucket, *count))
        .collect()
}

impl From<&Histogram> for Tally {
    fn from(histogram: &Histogram) -> Self {
        Tally {
            buckets: filled(histogram.counts()),
            sum_ms: histogram.sum_ms(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_tally_says_what_its_histogram_says() {
        let mut histogram = Histogram::default();
        for ms in [3, 40, 40, 900, 12_000] {
            histogram.record(Duration::from_millis(ms));
        }
        let tally = Tally::from(&histogram);
        for q in [0.0, 0.2, 0.5, 0.95, 1.0] {
            assert_eq!(tally.quantile_ms(q), histogram.quantile_ms(q), "{q}");
        }
        assert_eq!(tally.mean_ms(), histogram.mean_ms());
        assert_eq!(Tally::default().quantile_ms(0.5), None);
    }

    #[test]
    fn a_sum_of_many_is_what_adding_one_by_one_comes_to() {
        let tally = |ms: u64| {
            let mut histogram = Histogram::default();
            (1..4).for_each(|n| histogram.record(Duration::from_millis(n * ms)));
            Tally::from(&histogram)
        };
        let tallies: Vec<Tally> = [7, 40, 41, 3_000].map(tally).to_vec();
        let mut one_by_one = Tally::default();
        tallies.iter().for_each(|tally| one_by_one.add(tally));
        assert_eq!(tallies.iter().collect::<Tally>(), one_by_one);
    }
}
