//! A latency histogram whose bounds are the same in every process of every version, so that
//! histograms of several proxies add up and two snapshots subtract.

use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const FIRST_BOUND_MS: f64 = 0.25;
const STEP: f64 = 1.05;
const BOUND_COUNT: usize = 340;

/// Upper bounds of the buckets in milliseconds, ascending: 0.25 ms to about one hour in
/// steps of 5 %. A value beyond the last bound is counted in the last bucket.
pub fn bounds() -> &'static [f64] {
    static BOUNDS: LazyLock<Vec<f64>> = LazyLock::new(|| {
        (0..BOUND_COUNT)
            .map(|index| FIRST_BOUND_MS * STEP.powi(index as i32))
            .collect()
    });
    &BOUNDS
}

/// Cells of time that the bucket is looked up by: so many in every octave, from
/// `2^FIRST_OCTAVE` ms on. A cell spans 1/32 to 1/64 of its times, less than a step, so that at
/// most one bound lies within it.
const CELLS_PER_OCTAVE: usize = 32;
const FIRST_OCTAVE: i32 = -2;
const OCTAVES: usize = 24;

/// For each cell, the number of bounds below its begin.
fn cells() -> &'static [u16] {
    static CELLS: LazyLock<Vec<u16>> = LazyLock::new(|| {
        let begin = |cell: usize| {
            let octave = f64::from(FIRST_OCTAVE) + (cell / CELLS_PER_OCTAVE) as f64;
            let within = (cell % CELLS_PER_OCTAVE) as f64 / CELLS_PER_OCTAVE as f64;
            octave.exp2() * (1.0 + within)
        };
        let below = |begin: f64| bounds().partition_point(|bound| *bound < begin) as u16;
        (0..OCTAVES * CELLS_PER_OCTAVE)
            .map(|cell| below(begin(cell)))
            .collect()
    });
    &CELLS
}

/// The first bucket whose bound is no less than `ms`, or the last one: by the exponent and the
/// first bits of the fraction instead of a search.
fn bucket(ms: f64) -> usize {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    const BIAS: i32 = f64::MAX_EXP - 1;
    let first_cell = (BIAS + FIRST_OCTAVE) as usize * CELLS_PER_OCTAVE;
    let cell = (ms.to_bits() >> (FRACTION_BITS - CELLS_PER_OCTAVE.ilog2())) as usize;
    let Some(cell) = cell.checked_sub(first_cell) else {
        return 0;
    };
    let Some(below) = cells().get(cell) else {
        return BOUND_COUNT - 1;
    };
    let below = usize::from(*below).min(BOUND_COUNT - 1);
    let is_beyond = bounds()[below] < ms;
    (below + usize::from(is_beyond)).min(BOUND_COUNT - 1)
}

/// Upper bound in milliseconds of bucket `index`; the last bound for any index beyond.
pub fn bound_ms(index: usize) -> f64 {
    bounds()[index.min(BOUND_COUNT - 1)]
}

/// Counts of durations by bucket of [`bounds`], all monotone.
///
/// Counts are kept per bucket and written cumulatively, as Prometheus does; trailing buckets
/// that add nothing are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Cumulative", into = "Cumulative")]
pub struct Histogram {
    counts: Vec<u64>,
    sum_ms: f64,
}

impl Histogram {
    pub fn record(&mut self, value: Duration) {
        let ms = value.as_secs_f64() * 1000.0;
        let bucket = bucket(ms);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.sum_ms += ms;
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum_ms(&self) -> f64 {
        self.sum_ms
    }

    /// Counts by bucket, not cumulative.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Adds another process's counts to these.
    pub fn add(&mut self, other: &Histogram) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum_ms += other.sum_ms;
    }

    /// What was recorded since `earlier`, an older snapshot of the same histogram.
    /// A bucket that went backwards counts as zero.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let before = |index| earlier.counts.get(index).copied().unwrap_or(0);
        Histogram {
            counts: (self.counts.iter().enumerate())
                .map(|(index, count)| count.saturating_sub(before(index)))
                .collect(),
            sum_ms: (self.sum_ms - earlier.sum_ms).max(0.0),
        }
    }

    /// Upper bound in milliseconds of the bucket that holds quantile `q` (0 to 1), so at most
    /// 5 % above the true value; `None` when nothing was recorded.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map(bound_ms)
    }

    /// Mean in milliseconds; `None` when nothing was recorded.
    pub fn mean_ms(&self) -> Option<f64> {
        match self.count() {
            0 => None,
            count => Some(self.sum_ms / count as f64),
        }
    }
}

/// The form on the wire.
#[derive(Serialize, Deserialize)]
struct Cumulative {
    /// Cumulative counts by bucket; buckets left out at the end add nothing.
    buckets: Vec<u64>,
    sum_ms: f64,
}

impl From<Histogram> for Cumulative {
    fn from(histogram: Histogram) -> Self {
        let mut total = 0;
        let buckets = (histogram.counts.iter())
            .map(|count| {
                total += count;
                total
            })
            .collect();
        Cumulative {
            buckets,
            sum_ms: histogram.sum_ms,
        }
    }
}

impl From<Cumulative> for Histogram {
    fn from(wire: Cumulative) -> Self {
        let mut before = 0;
        let counts = (wire.buckets.iter().take(BOUND_COUNT))
            .map(|total| {
                let count = total.saturating_sub(before);
                before = before.max(*total);
                count
            })
            .collect();
        Histogram {
            counts,
            sum_ms: wire.sum_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn bounds_step_by_at_most_five_percent_and_reach_an_hour() {
        for pair in bounds().windows(2) {
            assert!(pair[1] / pair[0] <= 1.0501);
        }
        assert!(bounds().last().is_some_and(|last| *last > 3_600_000.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn the_bucket_is_the_one_that_a_search_finds(
            nanoseconds in prop_oneof![0..10_000_000_u64, 0..10_000_000_000_u64, any::<u64>()],
            near in 0..BOUND_COUNT,
        ) {
            let searched = |ms: f64| {
                let below = bounds().partition_point(|bound| *bound < ms);
                below.min(BOUND_COUNT - 1)
            };
            let drawn = Duration::from_nanos(nanoseconds).as_secs_f64() * 1000.0;
            let bound = bounds()[near];
            for ms in [drawn, bound, bound.next_up(), bound.next_down(), 0.0, f64::MAX] {
                prop_assert_eq!(bucket(ms), searched(ms), "{} ms", ms);
            }
        }
    }

    #[test]
    fn quantiles_are_within_a_bucket_above_the_truth() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|value| histogram.record(ms(value)));
        for (q, truth) in [(0.5, 500.0), (0.95, 950.0), (1.0, 1000.0)] {
            let found = histogram.quantile_ms(q).expect("values were recorded");
            assert!((truth..=truth * 1.05).contains(&found), "{q}: {found}");
        }
        assert_eq!(Histogram::default().quantile_ms(0.5), None);
    }

    #[test]
    fn a_window_is_the_difference_of_two_snapshots_sent_over_the_wire() {
        let mut histogram = Histogram::default();
        histogram.record(ms(10));
        let earlier = histogram.clone();
        histogram.record(ms(900));
        let sent = serde_json::to_string(&histogram).expect("it serializes");
        let received: Histogram = serde_json::from_str(&sent).expect("it parses");
        assert_eq!(received, histogram);
        let window = received.since(&earlier);
        assert_eq!(window.count(), 1);
        assert!(
            window
                .mean_ms()
                .is_some_and(|mean| (mean - 900.0).abs() < 1e-6)
        );
    }

    #[test]
    fn hostile_buckets_do_not_panic() {
        let long = format!("{{\"buckets\":[{}0],\"sum_ms\":1}}", "9,1,".repeat(500));
        let parsed: Histogram = serde_json::from_str(&long).expect("it parses");
        assert_eq!(parsed.count(), 9);
        assert_eq!(parsed.since(&parsed).count(), 0);
    }
}
