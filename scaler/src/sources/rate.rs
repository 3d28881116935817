//! How fast a counter grows: from one answer to the next, series by series.
//!
//! As in Prometheus' `rate`: a counter that is smaller than before restarted at zero, and a new one has
//! not grown yet.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::answer::Answer;

/// What the answer before had.
#[derive(Debug, Default)]
pub struct Growth {
    before: Option<(Instant, BTreeMap<String, f64>)>,
}

impl Growth {
    /// Growth a second since the answer before; `None` for the first.
    pub fn per_second(&mut self, now: Instant, answer: &Answer) -> Option<f64> {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for (series, value) in &answer.parts {
            *counts.entry(series.clone()).or_default() += value;
        }
        let grown = self.before.as_ref().and_then(|(at, before)| {
            let seconds = now.saturating_duration_since(*at).as_secs_f64();
            let since = |(series, now): (&String, &f64)| match before.get(series) {
                Some(before) if before <= now => now - before,
                Some(_) => *now,
                None => 0.0,
            };
            (seconds > 0.0).then(|| counts.iter().map(since).sum::<f64>() / seconds)
        });
        self.before = Some((now, counts));
        grown
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(parts: &[(&str, f64)]) -> Answer {
        let part = |(series, value): &(&str, f64)| ((*series).to_owned(), *value);
        Answer {
            parts: parts.iter().map(part).collect(),
            age: Duration::ZERO,
            is_partial: false,
        }
    }

    #[test]
    fn growth_is_by_series_and_survives_a_restart_of_one() {
        let (mut growth, begin) = (Growth::default(), Instant::now());
        let mut at = |second: u64, parts: &[(&str, f64)]| {
            growth.per_second(begin + Duration::from_secs(second), &answer(parts))
        };
        assert_eq!(at(0, &[("a", 75_234_100.0), ("b", 10.0)]), None);
        assert_eq!(at(10, &[("a", 75_234_150.0), ("b", 20.0)]), Some(6.0));
        // One began anew, and a third came.
        assert_eq!(at(20, &[("a", 30.0), ("b", 20.0), ("c", 99.0)]), Some(3.0));
        assert_eq!(at(30, &[("a", 30.0), ("b", 20.0), ("c", 109.0)]), Some(1.0));
    }
}
