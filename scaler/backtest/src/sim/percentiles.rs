//! Measured service times: a few percentiles, and straight lines between them.

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

/// As a histogram of real service times gives them.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    pub min: Duration,
    pub p25: Duration,
    pub p50: Duration,
    pub p75: Duration,
    pub p90: Duration,
    pub p95: Duration,
    pub p99: Duration,
    pub max: Duration,
}

/// A share of requests, and the seconds within which these are served.
type Knot = (f64, f64);

impl Percentiles {
    fn knots(&self) -> [Knot; 8] {
        [
            (0.0, self.min),
            (0.25, self.p25),
            (0.5, self.p50),
            (0.75, self.p75),
            (0.9, self.p90),
            (0.95, self.p95),
            (0.99, self.p99),
            (1.0, self.max),
        ]
        .map(|(share, time)| (share, time.as_secs_f64()))
    }

    /// Each queue with the next knot at its end.
    fn queues(&self) -> impl Iterator<Item = (Knot, Knot)> {
        let knots = self.knots();
        (1..knots.len()).map(move |index| (knots[index - 1], knots[index]))
    }

    pub fn mean_s(&self) -> f64 {
        let parts = self.queues();
        parts
            .map(|((from, low), (to, high))| (to - from) * (low + high) / 2.0)
            .sum()
    }

    /// The seconds that this share of requests does not exceed.
    pub fn at_s(&self, share: f64) -> f64 {
        let queue = self.queues().find(|(_, (to, _))| share <= *to);
        queue.map_or(self.max.as_secs_f64(), |((from, low), (to, high))| {
            low + (high - low) * (share - from) / (to - from)
        })
    }

    /// Share of requests that take longer.
    pub fn longer_than(&self, seconds: f64) -> f64 {
        let Some(((from, low), (to, high))) = self.queues().find(|(_, (_, high))| seconds < *high)
        else {
            return 0.0;
        };
        let along = ((seconds - low) / (high - low)).max(0.0);
        1.0 - (from + along * (to - from))
    }

    pub(super) fn check(&self) -> Result<(), Problem> {
        let backwards = |(low, high): &(Knot, Knot)| high.1 < low.1;
        if let Some(((_, low), (share, high))) = self.queues().find(backwards) {
            let found = format!("{high} s at {} %", share * 100.0);
            let expected = format!("{low} s or more, as of fewer requests");
            return Err(Problem::new("service.percentiles", found, expected));
        }
        match self.max.is_zero() {
            true => Err(Problem::new(
                "service.percentiles.max",
                "\"0s\"",
                "more than 0",
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Percentiles {
        let ms = |ms| Duration::from_millis(ms);
        Percentiles {
            min: ms(100),
            p25: ms(500),
            p50: ms(1000),
            p75: ms(2000),
            p90: ms(4000),
            p95: ms(6000),
            p99: ms(12_000),
            max: ms(20_000),
        }
    }

    #[test]
    fn lines_run_from_percentile_to_percentile() {
        let measured = measured();
        for (share, seconds) in [(0.0, 0.1), (0.5, 1.0), (0.825, 3.0), (1.0, 20.0)] {
            assert!((measured.at_s(share) - seconds).abs() < 1e-9, "{share}");
            let longer = measured.longer_than(seconds);
            assert!((longer - (1.0 - share)).abs() < 1e-9, "{seconds} s");
        }
        assert_eq!(measured.longer_than(0.0), 1.0);
        let count = 10_000;
        let drawn = (0..count).map(|n| measured.at_s((f64::from(n) + 0.5) / f64::from(count)));
        let mean = drawn.sum::<f64>() / f64::from(count);
        assert!((mean - measured.mean_s()).abs() < 1e-3, "{mean}");
    }

    #[test]
    fn percentiles_must_rise() {
        assert!(measured().check().is_ok());
        let wrong = Percentiles {
            p90: Duration::from_secs(1),
            ..measured()
        };
        let problem = format!("{:?}", wrong.check().expect_err("p90 is below p75"));
        assert!(problem.contains("1 s at 90 %"), "{problem}");
    }
}
