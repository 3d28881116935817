//! What a policy must not choose: the work, the workers, the SLO, and the faults.

use serde::Deserialize;
use tidegate_config::{Check, Duration, Problem};

use super::Percentiles;
use crate::trace::Demand;
use tidegate_control::chance::normal_tail;

/// Share of its slots that a worker of the starting fleet is busy.
const STARTING_LOAD: f64 = 0.7;

/// Over how long the demand at the start is taken.
const FIRST_WINDOW_S: f64 = 60.0;

/// The same for every policy of a comparison.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Where in a trace the replay begins.
    pub from: Duration,
    /// How much of a trace is replayed at most; to its end when absent.
    pub stretch: Option<Duration>,
    /// A demand is scaled until this many workers would be busy in the mean.
    pub busy_workers: f64,
    /// Requests that a worker takes at once.
    pub slots: u32,
    pub service: ServiceTime,
    /// From arrival to the end of the answer.
    pub slo: Duration,
    /// From arrival until a request that still waits is given up.
    pub deadline: Duration,
    /// Most requests in queue.
    pub waiting: usize,
    /// Share of arrivals to be answered within the SLO; what a minute's violation is judged by.
    pub attainment: f64,
    pub min_workers: u32,
    pub max_workers: u32,
    /// From launch to ready, in the mean; a file names [`Scenario::lead_times`] instead.
    #[serde(skip)]
    pub lead_time: Duration,
    /// Lead times of the table, one after the other.
    pub lead_times: Vec<Duration>,
    /// Lead times are uniform between this share below and above the mean.
    pub lead_spread: f64,
    /// Shortest time that a worker is billed for.
    pub minimum_bill: Duration,
    /// Spot losses per worker and hour of serving; a lost worker is gone at once.
    pub spot_losses_per_hour: f64,
    /// Share of launch calls that bring nothing.
    pub failed_launches: f64,
    /// When launches bring nothing.
    pub capacity_outages: Vec<Outage>,
    /// Share of ticks at which the autoscaler sees nothing.
    pub missed_polls: f64,
    /// When the autoscaler sees nothing.
    pub metric_outages: Vec<Outage>,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            from: Duration::default(),
            stretch: None,
            busy_workers: 20.0,
            slots: 4,
            service: ServiceTime::default(),
            slo: Duration::from_secs(10),
            deadline: Duration::from_secs(10),
            waiting: 1024,
            attainment: 0.99,
            min_workers: 1,
            max_workers: 100,
            lead_time: Duration::from_secs(60),
            lead_times: [10, 60, 180, 300].map(Duration::from_secs).to_vec(),
            lead_spread: 0.1,
            minimum_bill: Duration::from_secs(60),
            spot_losses_per_hour: 0.0,
            failed_launches: 0.0,
            capacity_outages: Vec::new(),
            missed_polls: 0.0,
            metric_outages: Vec::new(),
        }
    }
}

/// How long a worker is at a request.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceTime {
    pub distribution: Distribution,
    /// Of distributions that are given; measured ones have their own.
    pub mean: Duration,
    /// Standard deviation over the mean, of log-normal times.
    pub variation: f64,
    /// Of measured times.
    pub percentiles: Option<Percentiles>,
}

impl Default for ServiceTime {
    fn default() -> Self {
        ServiceTime {
            distribution: Distribution::LogNormal,
            mean: Duration::from_secs(2),
            variation: 0.5,
            percentiles: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    LogNormal,
    Exponential,
    Measured,
}

impl ServiceTime {
    pub fn mean_s(&self) -> f64 {
        match self.measured() {
            Some(percentiles) => percentiles.mean_s(),
            None => self.mean.as_secs_f64(),
        }
    }

    /// The percentiles, where these are what counts.
    pub(super) fn measured(&self) -> Option<Percentiles> {
        let percentiles = self.percentiles;
        percentiles.filter(|_| self.distribution == Distribution::Measured)
    }

    /// Mean and standard deviation of the logarithm of log-normal seconds.
    pub(crate) fn log_moments(&self) -> (f64, f64) {
        let variance = self.variation.powi(2).ln_1p();
        (self.mean_s().ln() - variance / 2.0, variance.sqrt())
    }

    /// Probability that a request takes longer than this.
    pub fn longer_than(&self, seconds: f64) -> f64 {
        if let Some(percentiles) = self.measured() {
            return percentiles.longer_than(seconds);
        }
        let (mean, deviation) = self.log_moments();
        match self.distribution {
            Distribution::Exponential => (-seconds / self.mean_s()).exp(),
            _ if deviation == 0.0 => f64::from(self.mean_s() > seconds),
            Distribution::LogNormal | Distribution::Measured => {
                normal_tail((seconds.ln() - mean) / deviation)
            }
        }
    }
}

impl ServiceTime {
    /// Percentiles go with measured times alone, and are needed there.
    fn check_measured(&self) -> Result<(), Problem> {
        let is_measured = self.distribution == Distribution::Measured;
        match (is_measured, &self.percentiles) {
            (true, Some(percentiles)) => percentiles.check(),
            (false, None) => Ok(()),
            (true, None) => {
                let expected = "min, p25, p50, p75, p90, p95, p99 and max, since distribution is \
                    \"measured\"";
                Err(Problem::new("service.percentiles", "none", expected))
            }
            (false, Some(_)) => {
                let expected = "\"measured\", since there are percentiles";
                Err(Problem::new(
                    "service.distribution",
                    "another one",
                    expected,
                ))
            }
        }
    }
}

/// A stretch of time, since the demand began.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    pub from: Duration,
    pub to: Duration,
}

impl Outage {
    pub(crate) fn covers(outages: &[Outage], now: std::time::Duration) -> bool {
        let inside = |outage: &Outage| *outage.from <= now && now < *outage.to;
        outages.iter().any(inside)
    }
}

impl Scenario {
    /// Requests per second that a worker with all slots busy answers.
    pub fn worker_rate(&self) -> f64 {
        f64::from(self.slots) / self.service.mean_s()
    }

    /// The stretch of a trace that is replayed, scaled; `None` where the trace has no requests
    /// there.
    pub fn demand(&self, trace: &Demand) -> Option<Demand> {
        let begins_s = self.from.as_secs_f64();
        let longest_s = self.stretch.map_or(f64::INFINITY, |s| s.as_secs_f64());
        let ends_s = trace.span_s().min(begins_s + longest_s);
        let stretch = trace.cut(begins_s, ends_s);
        let has_requests = stretch.span_s() > 0.0 && stretch.requests() > 0.0;
        has_requests.then(|| self.scale(&stretch))
    }

    /// The demand, scaled to the scenario's mean of busy workers.
    pub fn scale(&self, demand: &Demand) -> Demand {
        demand.scaled_to(self.busy_workers * self.worker_rate())
    }

    /// Workers at the start: what the first minute's demand needs at 70 % load.
    pub fn first_workers(&self, demand: &Demand) -> u32 {
        let busy = demand.first_rate(FIRST_WINDOW_S) / self.worker_rate();
        let need = (busy / STARTING_LOAD).ceil() as u32;
        need.clamp(self.min_workers, self.max_workers)
    }

    pub fn with_lead_time(&self, lead_time: std::time::Duration) -> Scenario {
        Scenario {
            lead_time: lead_time.into(),
            ..self.clone()
        }
    }
}

impl Scenario {
    fn check_times(&self) -> Result<(), Problem> {
        if self.lead_times.is_empty() {
            return Err(Problem::new("lead_times", "none", "one or more"));
        }
        let times = [
            ("slo", Some(self.slo)),
            ("deadline", Some(self.deadline)),
            ("stretch", self.stretch),
        ];
        for (key, time) in times {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(Problem::new(key, "\"0s\"", "more than 0"));
            }
        }
        for (key, outages) in [
            ("capacity_outages", &self.capacity_outages),
            ("metric_outages", &self.metric_outages),
        ] {
            for (index, outage) in outages.iter().enumerate() {
                if outage.to <= outage.from {
                    let found = format!("\"{}\"", outage.to);
                    let expected = format!("later than from (\"{}\")", outage.from);
                    return Err(Problem::new("to", found, expected).within_item(key, index));
                }
            }
        }
        Ok(())
    }
}

impl Check for Scenario {
    fn check(&self) -> Result<(), Problem> {
        let positive = |key: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Problem::new(key, value, "a number above 0")),
        };
        let share = |key: &str, value: f64| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Problem::new(key, value, "0 to 1")),
        };
        positive("busy_workers", self.busy_workers)?;
        positive("service.mean", self.service.mean_s())?;
        share("attainment", self.attainment)?;
        share("lead_spread", self.lead_spread)?;
        share("failed_launches", self.failed_launches)?;
        share("missed_polls", self.missed_polls)?;
        self.check_times()?;
        if self.slots == 0 {
            return Err(Problem::new("slots", self.slots, "1 or more"));
        }
        self.service.check_measured()?;
        if !(0.0..=100.0).contains(&self.service.variation) {
            let found = self.service.variation;
            return Err(Problem::new("service.variation", found, "0 to 100"));
        }
        if !(0.0..=3600.0).contains(&self.spot_losses_per_hour) {
            let found = self.spot_losses_per_hour;
            return Err(Problem::new("spot_losses_per_hour", found, "0 to 3600"));
        }
        if self.max_workers == 0 || self.min_workers > self.max_workers {
            let expected = "1 or more, and at least min_workers";
            return Err(Problem::new("max_workers", self.max_workers, expected));
        }
        Ok(())
    }
}
