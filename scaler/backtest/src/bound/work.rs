//! How much work can be done by when, and how much has to be.

use std::time::Duration;

use crate::sim::{Request, Scenario, Workload};
use crate::trace::Demand;

/// The work of a run, cumulative at the ends of buckets, in slot-seconds.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub bucket_s: f64,
    /// Most that can be done by the end of each bucket: every request starts on arrival.
    pub earliest: Vec<f64>,
    /// Least that must be: every request starts as late as it may.
    pub latest: Vec<f64>,
    /// Service times in seconds of requests that can be answered in time, and of those that
    /// cannot.
    pub hopeful: Vec<f32>,
    pub hopeless: Vec<f32>,
}

impl Work {
    pub fn of(scenario: &Scenario, demand: &Demand, seed: u64, bucket_s: f64) -> Work {
        // A last bucket that the demand does not fill would be billed in full.
        let count = (demand.span_s() / bucket_s).floor() as usize;
        let mut work = Work {
            bucket_s,
            earliest: vec![0.0; count],
            latest: vec![0.0; count],
            hopeful: Vec::new(),
            hopeless: Vec::new(),
        };
        for request in Workload::new(scenario, demand, seed) {
            work.add(scenario, request);
        }
        accumulate(&mut work.earliest);
        accumulate(&mut work.latest);
        work
    }

    /// Work that must be done before the demand ends.
    pub fn due_s(&self) -> f64 {
        self.latest.last().copied().unwrap_or(0.0)
    }

    /// Requests in all.
    pub fn requests(&self) -> usize {
        self.hopeful.len() + self.hopeless.len()
    }

    /// A request that can be in time starts early enough for that; one that cannot starts before
    /// it is given up.
    fn add(&mut self, scenario: &Scenario, request: Request) {
        let Request { arrived, service } = request;
        let patience = *scenario.deadline;
        let slack = match scenario.slo.checked_sub(service) {
            Some(slack) => slack.min(patience),
            None => patience,
        };
        let seconds = service.as_secs_f64();
        match service <= *scenario.slo {
            true => self.hopeful.push(seconds as f32),
            false => self.hopeless.push(seconds as f32),
        }
        spread(&mut self.earliest, self.bucket_s, arrived, seconds);
        spread(&mut self.latest, self.bucket_s, arrived + slack, seconds);
    }
}

/// Adds what of `[start, start + seconds]` falls into each bucket.
fn spread(buckets: &mut [f64], bucket_s: f64, start: Duration, seconds: f64) {
    let start = start.as_secs_f64();
    let end = start + seconds;
    let first = (start / bucket_s) as usize;
    for (index, bucket) in buckets.iter_mut().enumerate().skip(first) {
        let (opens, closes) = (index as f64 * bucket_s, (index + 1) as f64 * bucket_s);
        *bucket += (end.min(closes) - start.max(opens)).max(0.0);
        if closes >= end {
            return;
        }
    }
}

fn accumulate(values: &mut [f64]) {
    let mut sum = 0.0;
    for value in values {
        sum += *value;
        *value = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_falls_into_the_buckets_that_it_covers() {
        let mut buckets = [0.0; 4];
        spread(&mut buckets, 2.0, Duration::from_secs(1), 4.0);
        assert_eq!(buckets, [1.0, 2.0, 1.0, 0.0]);
        spread(&mut buckets, 2.0, Duration::from_secs(7), 4.0);
        assert_eq!(
            buckets,
            [1.0, 2.0, 1.0, 1.0],
            "what comes after the end is not counted"
        );
        accumulate(&mut buckets);
        assert_eq!(buckets, [1.0, 3.0, 4.0, 5.0]);
    }
}
