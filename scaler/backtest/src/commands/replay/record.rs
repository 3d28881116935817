//! A ledger read from its begin, and the facts about its fleet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sim::Scenario;
use tidegate_control::{Policy, Seen, Time};

use tidegate_control::record::{Entry, Line, Tick, VERSION};

/// A longer time from tick to tick is a scaler that was not there.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The ticks of a ledger, in order.
pub struct Record {
    pub ticks: Vec<(Time, Tick)>,
}

#[derive(Debug, thiserror::Error)]
pub enum BadLedger {
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable {
        file: PathBuf,
        cause: std::io::Error,
    },
    #[error(
        "{}: has no ticks of version {VERSION} or before; expected a ledger, as the policy's \
         scaler.ledger names it",
        .0.display()
    )]
    NoTicks(PathBuf),
}

impl Record {
    /// Torn lines and lines of later versions are left out, as by the scaler.
    pub fn read(file: &Path) -> Result<Record, BadLedger> {
        let bytes = std::fs::read(file).map_err(|cause| BadLedger::Unreadable {
            file: file.to_owned(),
            cause,
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text
            .lines()
            .filter_map(|text| serde_json::from_str(text).ok());
        let known = lines.filter(|line: &Line| line.version <= VERSION);
        let ticks: Vec<_> = known
            .filter_map(|line| match line.entry {
                Entry::Tick(tick) => Some((line.at, *tick)),
                Entry::Outcome(_) | Entry::ByHand(_) | Entry::WorkerByHand(_) => None,
            })
            .collect();
        match ticks.is_empty() {
            true => Err(BadLedger::NoTicks(file.to_owned())),
            false => Ok(Record { ticks }),
        }
    }

    pub fn begin(&self) -> Time {
        self.ticks.first().map_or(Time::default(), |(at, _)| *at)
    }

    pub fn span_s(&self) -> f64 {
        let end = self.ticks.last().map_or(Time::default(), |(at, _)| *at);
        end.since(self.begin()).as_secs_f64()
    }

    fn seen(&self) -> impl Iterator<Item = &Seen> {
        let proxies = self
            .ticks
            .iter()
            .flat_map(|(_, tick)| &tick.observation.proxies);
        proxies.filter_map(|proxy| proxy.seen.as_ref())
    }

    /// The sum of a figure of each tick times the seconds to the next.
    fn over_time(&self, figure: impl Fn(&Tick) -> f64) -> f64 {
        let pairs = self.ticks.windows(2);
        let parts = pairs.map(|pair| {
            let passed = pair[1].0.since(pair[0].0);
            match passed <= LONGEST_PAUSE {
                true => figure(&pair[0].1) * passed.as_secs_f64(),
                false => 0.0,
            }
        });
        parts.sum()
    }

    /// From launch to end, as far as the ledger goes.
    pub fn worker_hours(&self) -> f64 {
        self.over_time(|tick| tick.fleet.workers.len() as f64) / 3600.0
    }

    /// Share of the requests that ended within `slo`; `None` when none ended.
    pub fn in_time(&self, slo: Duration) -> Option<f64> {
        let (mut within, mut all) = (0, 0);
        for seen in self.seen() {
            within += seen.latency.count_within_ms(slo.as_secs_f64() * 1000.0);
            all += seen.latency.count();
        }
        (all > 0).then(|| within as f64 / all as f64)
    }

    /// The scenario that the ledger and the policy tell of: service time by Little's law, slots
    /// as many as were ever busy at once on a worker.
    pub fn scenario(&self, policy: &Policy) -> Scenario {
        let usual = Scenario::default();
        let arrivals: u64 = self.seen().map(|seen| seen.arrivals).sum();
        let busy_s = self.over_time(|tick| {
            let proxies = tick.observation.proxies.iter();
            let seen = proxies.filter_map(|proxy| proxy.seen.as_ref());
            seen.map(|seen| seen.in_flight as f64).sum()
        });
        let mut service = usual.service;
        if arrivals > 0 && busy_s > 0.0 {
            service.mean = Duration::from_secs_f64((busy_s / arrivals as f64).max(0.001)).into();
        }
        let workers = self.ticks.iter().flat_map(|(_, tick)| {
            let ids = tick.fleet.workers.iter().map(|worker| &worker.id);
            ids.map(|id| tick.observation.busy(id))
        });
        let (fleet, slo) = (&policy.fleet, policy.slo.latency);
        Scenario {
            slots: workers.max().unwrap_or_default().max(1),
            service,
            slo,
            deadline: slo,
            min_workers: fleet.min,
            max_workers: fleet.max,
            lead_time: fleet.lead_time,
            lead_spread: 0.0,
            ..usual
        }
    }
}
