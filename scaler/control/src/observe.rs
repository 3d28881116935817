//! From the proxies' raw signals to what one tick saw: counters become differences since the
//! tick before, per proxy and epoch.
//!
//! An [`Observation`] is all that the law knows of the traffic, and what the ledger keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidegate_wire::{Histogram, Signal, WorkerSignal, WorkerState};

use crate::{Tally, Time};

/// What asking one configured proxy brought.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How the configuration names the proxy.
    pub source: String,
    /// `None` when it did not answer in time, or not with a signal.
    pub signal: Option<Signal>,
}

/// What one tick saw of all configured proxies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// One entry for each configured proxy, in the configuration's order.
    pub proxies: Vec<ProxySight>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxySight {
    pub source: String,
    /// `None` when the proxy did not answer this tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// The lines of all models of one proxy, added up, and its workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub epoch: String,
    /// Whether the differences below have a beginning; not so the first time a proxy is seen.
    pub counted: bool,
    /// Arrivals since the tick before.
    pub arrivals: u64,
    /// From arrival to the end, of requests that ended since the tick before.
    pub latency: Tally,
    pub waiting: u64,
    pub in_flight: u64,
    pub oldest_waiting_ms: Option<u64>,
    pub oldest_running_ms: Option<u64>,
    /// In the order of their ids.
    pub workers: Vec<WorkerSight>,
}

/// One worker as one proxy knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSight {
    pub id: String,
    /// It says that it can serve.
    pub ready: bool,
    /// It was ordered to drain, or does so by itself.
    pub draining: bool,
    /// Permits that this proxy holds on it.
    pub permits: u32,
    /// Its slots that others hold.
    pub elsewhere: u32,
    pub beat_age_ms: u64,
}

/// Keeps each proxy's last signal, to tell what is new in the next.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    earlier: BTreeMap<String, Counted>,
}

/// What of a signal is needed to take the difference to the next.
#[derive(Clone, Debug)]
struct Counted {
    epoch: String,
    now_ms: u64,
    arrivals: u64,
    latency: Histogram,
}

impl Observer {
    pub fn observe(&mut self, answers: &[Answer]) -> Observation {
        self.earlier
            .retain(|source, _| answers.iter().any(|answer| answer.source == *source));
        let proxies = answers.iter().map(|answer| ProxySight {
            source: answer.source.clone(),
            seen: (answer.signal.as_ref()).and_then(|signal| self.see(&answer.source, signal)),
        });
        Observation {
            proxies: proxies.collect(),
        }
    }

    /// `None` for a signal that is no newer than the one before: its writer has stopped.
    fn see(&mut self, source: &str, signal: &Signal) -> Option<Seen> {
        let counted = Counted::of(signal);
        let earlier = self.earlier.get(source);
        let same_epoch = earlier.filter(|earlier| earlier.epoch == signal.epoch);
        if same_epoch.is_some_and(|earlier| counted.now_ms <= earlier.now_ms) {
            return None;
        }
        // Counters of a new epoch began at zero, so all that they hold is new.
        let (arrivals, latency) = match (same_epoch, earlier) {
            (Some(earlier), _) => (
                counted.arrivals.saturating_sub(earlier.arrivals),
                Tally::from(&counted.latency.since(&earlier.latency)),
            ),
            (None, Some(_)) => (counted.arrivals, Tally::from(&counted.latency)),
            (None, None) => (0, Tally::default()),
        };
        let mut workers: Vec<_> = signal.workers.iter().map(WorkerSight::from).collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        let models = || signal.models.iter();
        let seen = Seen {
            epoch: signal.epoch.clone(),
            counted: earlier.is_some(),
            arrivals,
            latency,
            waiting: models().map(|model| model.waiting).sum(),
            in_flight: models().map(|model| model.in_flight).sum(),
            oldest_waiting_ms: models().filter_map(|model| model.oldest_waiting_ms).max(),
            oldest_running_ms: models().filter_map(|model| model.oldest_running_ms).max(),
            workers,
        };
        self.earlier.insert(source.to_owned(), counted);
        Some(seen)
    }
}

impl Counted {
    fn of(signal: &Signal) -> Counted {
        let mut latency = Histogram::default();
        (signal.models.iter()).for_each(|model| latency.add(&model.latency));
        Counted {
            epoch: signal.epoch.clone(),
            now_ms: signal.now_ms,
            arrivals: signal.models.iter().map(|m| m.arrivals_total).sum(),
            latency,
        }
    }
}

impl From<&WorkerSignal> for WorkerSight {
    fn from(signal: &WorkerSignal) -> Self {
        WorkerSight {
            id: signal.worker.clone(),
            ready: signal.state == WorkerState::Ready,
            draining: signal.draining,
            permits: signal.permits,
            elsewhere: signal.elsewhere,
            beat_age_ms: signal.beat_age_ms,
        }
    }
}

impl Seen {
    /// What the proxy says of worker `id`.
    pub fn worker(&self, id: &str) -> Option<&WorkerSight> {
        let index = self
            .workers
            .binary_search_by(|worker| worker.id.as_str().cmp(id));
        index.ok().and_then(|index| self.workers.get(index))
    }
}

impl Observation {
    /// The configured proxies that did not answer.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let missing = self.proxies.iter().filter(|proxy| proxy.seen.is_none());
        missing.map(|proxy| proxy.source.as_str())
    }

    /// Whether every configured proxy answered.
    pub fn is_complete(&self) -> bool {
        !self.proxies.is_empty() && self.missing().next().is_none()
    }

    /// What each proxy that answered says of worker `id`; `None` where it knows none.
    pub fn of_worker(&self, id: &str) -> impl Iterator<Item = Option<&WorkerSight>> {
        let answered = self.proxies.iter().filter_map(|proxy| proxy.seen.as_ref());
        answered.map(move |seen| seen.worker(id))
    }

    /// Requests that the worker is at, by any proxy or direct client.
    pub fn busy(&self, id: &str) -> u32 {
        let (mut ours, mut most) = (0_u32, 0);
        for sight in self.of_worker(id).flatten() {
            ours = ours.saturating_add(sight.permits);
            most = most.max(sight.permits.saturating_add(sight.elsewhere));
        }
        ours.max(most)
    }

    /// Whether every configured proxy answered, hands nothing to the worker and holds no permit
    /// on it.
    pub fn is_drained(&self, id: &str) -> bool {
        let idle = |sight: Option<&WorkerSight>| {
            sight.is_some_and(|sight| sight.draining && sight.permits == 0)
        };
        self.is_complete() && self.of_worker(id).all(idle)
    }

    /// When the worker's newest beat came in, as of `now`.
    pub fn heard(&self, id: &str, now: Time) -> Option<Time> {
        let ages = self.of_worker(id).flatten().map(|sight| sight.beat_age_ms);
        ages.min()
            .map(|age| now - std::time::Duration::from_millis(age))
    }
}
