//! The requests of a run: when each arrives, and how long a worker will be at it.

use std::time::Duration;

use super::{Distribution, Scenario, ServiceTime};
use crate::trace::{Arrivals, Demand};
use tidegate_control::chance::Chance;

/// No request takes longer; keeps a tail of the distribution from holding a run up for ever.
pub(super) const LONGEST_S: f64 = 3600.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub arrived: Duration,
    /// Time that it takes a worker, whenever and wherever it runs.
    pub service: Duration,
}

/// Requests in the order of their arrival. The n-th has the same times whoever asks, so that all
/// policies of a comparison, and the bound, are about the same work.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    arrivals: Arrivals<'a>,
    chance: Chance,
    service: ServiceTime,
    log_mean: f64,
    log_deviation: f64,
}

impl<'a> Workload<'a> {
    pub fn new(scenario: &Scenario, demand: &'a Demand, seed: u64) -> Workload<'a> {
        let (log_mean, log_deviation) = scenario.service.log_moments();
        Workload {
            arrivals: demand.arrivals(seed),
            chance: Chance::new(seed, "service"),
            service: scenario.service,
            log_mean,
            log_deviation,
        }
    }

    fn service(&mut self) -> Duration {
        let seconds = match self.service.distribution {
            Distribution::Exponential => self.chance.exponential() * self.service.mean_s(),
            Distribution::LogNormal => {
                (self.log_mean + self.log_deviation * self.chance.normal()).exp()
            }
            Distribution::Measured => {
                let share = 1.0 - self.chance.unit();
                let measured = self.service.measured();
                measured.map_or(self.service.mean_s(), |percentiles| percentiles.at_s(share))
            }
        };
        Duration::from_secs_f64(seconds.min(LONGEST_S))
    }
}

impl Iterator for Workload<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let arrived = self.arrivals.next()?;
        let service = self.service();
        Some(Request { arrived, service })
    }
}
