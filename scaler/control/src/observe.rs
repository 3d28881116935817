//! From the proxies' raw signals to what one tick saw: counters become differences since the
//! tick before, per proxy and epoch.
//!
//! An [`Observation`] is all that the law knows of the traffic, and what the ledger keeps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_protocol::{Histogram, ModelSignal, Signal, WorkerSignal, WorkerState};

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
    pub proxies: Vec<ProxyObservation>,
    /// Values of the sources beside the proxies, by name, as long as they are fresh.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
    /// Of those sources, the ones that are known to say too little: part of what they add up was
    /// missing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub lower_bounds: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxyObservation {
    pub source: String,
    /// `None` when the proxy did not answer this tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// The lines of one proxy, added up over the models that count, and their workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub epoch: String,
    /// Whether the differences below have a beginning; not so the first time a proxy is seen.
    pub counted: bool,
    /// Arrivals since the tick before.
    pub arrivals: u64,
    /// From arrival to the end, of requests that ended since the tick before.
    pub latency: Tally,
    /// Requests that workers answered since then.
    #[serde(default)]
    pub served: u64,
    /// How long workers were at those.
    #[serde(default)]
    pub service_ms: f64,
    /// How long requests were in the queue whose wait ended since then.
    #[serde(default)]
    pub waits: Tally,
    /// How long workers were at what they answered since then.
    #[serde(default)]
    pub service: Tally,
    pub waiting: u64,
    pub in_flight: u64,
    pub oldest_waiting_ms: Option<u64>,
    pub oldest_running_ms: Option<u64>,
    /// In the order of their ids.
    pub workers: Vec<WorkerObservation>,
}

/// One worker as one proxy knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerObservation {
    pub id: String,
    /// It says that it can serve.
    pub ready: bool,
    /// It was ordered to drain, or does so by itself.
    pub draining: bool,
    /// Requests that it takes at once.
    #[serde(default)]
    pub slots: u32,
    /// Permits that this proxy holds on it.
    pub permits: u32,
    /// Its slots that others hold.
    pub elsewhere: u32,
    pub beat_age_ms: u64,
}

/// Keeps each proxy's last signal, to tell what is new in the next.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    model: Option<String>,
    earlier: BTreeMap<String, Counted>,
}

/// What of a signal is needed to take the difference to the next.
#[derive(Clone, Debug, Default)]
struct Counted {
    epoch: String,
    now_ms: u64,
    models: BTreeMap<String, ModelCounts>,
}

/// What one model's queue counted since it began.
#[derive(Clone, Debug, Default)]
struct ModelCounts {
    began_ms: u64,
    arrivals: u64,
    latency: Histogram,
    service: Histogram,
    waits: Histogram,
}

impl Observer {
    /// Sees this model alone: its lines and its workers.
    pub fn of_model(model: Option<String>) -> Observer {
        let earlier = BTreeMap::new();
        Observer { model, earlier }
    }

    /// Sees another model from now on. What was counted of the last one is no beginning for it.
    pub fn set_model(&mut self, model: Option<String>) {
        if self.model != model {
            *self = Observer::of_model(model);
        }
    }

    fn is_ours(&self, model: &str) -> bool {
        self.model.as_deref().is_none_or(|ours| ours == model)
    }

    pub fn observe(&mut self, answers: &[Answer]) -> Observation {
        self.earlier
            .retain(|source, _| answers.iter().any(|answer| answer.source == *source));
        let proxies = answers.iter().map(|answer| ProxyObservation {
            source: answer.source.clone(),
            seen: (answer.signal.as_ref()).and_then(|signal| self.see(&answer.source, signal)),
        });
        Observation {
            proxies: proxies.collect(),
            ..Observation::default()
        }
    }

    /// `None` for a signal that is no newer than the one before: its writer has stopped.
    fn see(&mut self, source: &str, signal: &Signal) -> Option<Seen> {
        let ours: Vec<&ModelSignal> = (signal.models.iter())
            .filter(|model| self.is_ours(&model.model))
            .collect();
        let counted = Counted::of(signal, &ours);
        let earlier = self.earlier.get(source);
        let same_epoch = earlier.filter(|earlier| earlier.epoch == signal.epoch);
        if same_epoch.is_some_and(|earlier| counted.now_ms <= earlier.now_ms) {
            return None;
        }
        // Counters of a new epoch began at zero, so all that they hold is new.
        let zero = Counted::default();
        let since = match (same_epoch, earlier) {
            (Some(earlier), _) => earlier,
            (None, Some(_)) => &zero,
            (None, None) => &counted,
        };
        let workers = (signal.workers.iter()).filter(|worker| self.is_ours(&worker.model));
        let mut workers: Vec<_> = workers.map(WorkerObservation::from).collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        let models = || ours.iter();
        let new = counted.since(since);
        let seen = Seen {
            epoch: signal.epoch.clone(),
            counted: earlier.is_some(),
            arrivals: new.arrivals,
            latency: Tally::from(&new.latency),
            served: new.service.count(),
            service_ms: new.service.sum_ms(),
            waits: Tally::from(&new.waits),
            service: Tally::from(&new.service),
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
    fn of(signal: &Signal, models: &[&ModelSignal]) -> Counted {
        let counts = |model: &&ModelSignal| (model.model.clone(), ModelCounts::of(model));
        Counted {
            epoch: signal.epoch.clone(),
            now_ms: signal.now_ms,
            models: models.iter().map(counts).collect(),
        }
    }

    /// What was counted since, over all models. A queue that began since then began at zero; of one
    /// that is gone nothing is new.
    fn since(&self, earlier: &Counted) -> ModelCounts {
        let zero = ModelCounts::default();
        let mut new = ModelCounts::default();
        for (model, counts) in &self.models {
            let before = earlier.models.get(model);
            let before = before.filter(|before| before.began_ms == counts.began_ms);
            new.add_since(counts, before.unwrap_or(&zero));
        }
        new
    }
}

impl ModelCounts {
    fn of(signal: &ModelSignal) -> ModelCounts {
        ModelCounts {
            began_ms: signal.began_ms,
            arrivals: signal.arrivals_total,
            latency: signal.latency.clone(),
            service: signal.service.clone(),
            waits: signal.wait.clone(),
        }
    }

    fn add_since(&mut self, now: &ModelCounts, earlier: &ModelCounts) {
        self.arrivals += now.arrivals.saturating_sub(earlier.arrivals);
        self.latency.add(&now.latency.since(&earlier.latency));
        self.service.add(&now.service.since(&earlier.service));
        self.waits.add(&now.waits.since(&earlier.waits));
    }
}

impl From<&WorkerSignal> for WorkerObservation {
    fn from(signal: &WorkerSignal) -> Self {
        WorkerObservation {
            id: signal.worker.clone(),
            ready: signal.state == WorkerState::Ready,
            draining: signal.draining,
            slots: signal.slots,
            permits: signal.permits,
            elsewhere: signal.elsewhere,
            beat_age_ms: signal.beat_age_ms,
        }
    }
}

impl Seen {
    /// What the proxy says of worker `id`.
    pub fn worker(&self, id: &str) -> Option<&WorkerObservation> {
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
    pub fn of_worker(&self, id: &str) -> impl Iterator<Item = Option<&WorkerObservation>> {
        let answered = self.proxies.iter().filter_map(|proxy| proxy.seen.as_ref());
        answered.map(move |seen| seen.worker(id))
    }

    /// Requests that the worker is at, by any proxy or direct client.
    pub fn busy(&self, id: &str) -> u32 {
        let (mut ours, mut most) = (0_u32, 0);
        for report in self.of_worker(id).flatten() {
            ours = ours.saturating_add(report.permits);
            most = most.max(report.permits.saturating_add(report.elsewhere));
        }
        ours.max(most)
    }

    /// As [`Observation::busy`], of many workers in the order of their ids: in one pass.
    pub(crate) fn busy_each(&self, ids: &[&str]) -> Vec<u32> {
        let mut busy = vec![(0_u32, 0_u32); ids.len()];
        for seen in self.proxies.iter().filter_map(|proxy| proxy.seen.as_ref()) {
            let mut reports = seen.workers.iter().peekable();
            for (id, (ours, most)) in ids.iter().zip(&mut busy) {
                while reports.next_if(|report| report.id.as_str() < *id).is_some() {}
                if let Some(report) = reports.next_if(|report| report.id == *id) {
                    *ours = ours.saturating_add(report.permits);
                    *most = (*most).max(report.permits.saturating_add(report.elsewhere));
                }
            }
        }
        busy.into_iter()
            .map(|(ours, most)| ours.max(most))
            .collect()
    }

    /// Whether every configured proxy answered, hands nothing to the worker and holds no permit
    /// on it.
    pub fn is_drained(&self, id: &str) -> bool {
        let idle = |report: Option<&WorkerObservation>| {
            report.is_some_and(|report| report.draining && report.permits == 0)
        };
        self.is_complete() && self.of_worker(id).all(idle)
    }

    /// When the worker's newest heartbeat came in, as of `now`.
    pub fn heard(&self, id: &str, now: Time) -> Option<Time> {
        let ages = self
            .of_worker(id)
            .flatten()
            .map(|report| report.beat_age_ms);
        ages.min()
            .map(|age| now - std::time::Duration::from_millis(age))
    }
}
