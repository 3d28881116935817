//! The signal: one consistent snapshot of what a proxy has counted, for the scaler.
//!
//! Counters are monotone within an epoch and nothing is averaged, so a missed poll loses
//! nothing and a lone request at zero workers stays visible.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Histogram, WorkerState};

/// `GET /signal` of one proxy, with the `operator` token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// [`crate::VERSION`] of the writer.
    pub version: u32,
    /// Name of the proxy.
    pub proxy: String,
    /// Changes each time the proxy's process starts; counters begin at zero then.
    pub epoch: String,
    /// Milliseconds since the epoch began, monotone.
    pub now_ms: u64,
    pub models: Vec<ModelSignal>,
    pub workers: Vec<WorkerSignal>,
}

/// The queue of one model at one proxy, over all classes.
///
/// Every arrival ends in exactly one of `answered_total`, `failed_total`, `shed_total`,
/// `expired_total` and `aborted_total`, or is still waiting or in flight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSignal {
    pub model: String,
    /// When this queue began, as [`Signal::now_ms`] tells the time: its counters were zero then. A
    /// queue that nobody needs is removed, and begins again when it is needed again.
    #[serde(default)]
    pub began_ms: u64,

    /// Requests that named this model and were read whole.
    pub arrivals_total: u64,
    /// Answered by a worker, whatever the status.
    pub answered_total: u64,
    /// Given up after their tries, or cut after the response had begun.
    pub failed_total: u64,
    /// Refused on arrival: the queue was full or the deadline could not be met.
    pub shed_total: u64,
    /// Waited to their deadline.
    pub expired_total: u64,
    /// Left by their client, in queue or in flight.
    pub aborted_total: u64,
    /// Tries that were moved to another worker.
    pub retries_total: u64,

    /// Requests in queue now.
    pub waiting: u64,
    /// Bytes of their bodies.
    pub waiting_bytes: u64,
    /// Permits held now.
    pub in_flight: u64,
    /// Age of the oldest request in queue, from its arrival.
    pub oldest_waiting_ms: Option<u64>,
    /// Age of the oldest permit.
    pub oldest_running_ms: Option<u64>,

    /// From arrival to the end of every request, however it ended.
    pub latency: Histogram,
    /// From arrival to the first permit, or to the end of those that never got one.
    pub wait: Histogram,
    /// From permit to the end of the answer, for answered requests.
    pub service: Histogram,

    /// The same by class, in the order of the classes, for those that had a request. Empty from a
    /// proxy that knows no classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassSignal>,
}

/// What of a model's queue is of one class. The fields mean what they mean in [`ModelSignal`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassSignal {
    pub class: String,

    pub arrivals_total: u64,
    pub answered_total: u64,
    pub failed_total: u64,
    pub shed_total: u64,
    pub expired_total: u64,
    pub aborted_total: u64,
    pub retries_total: u64,
    /// Costs of the requests that were answered, added up.
    pub cost_total: u64,

    pub waiting: u64,
    pub waiting_bytes: u64,
    /// Costs of the requests in queue, added up.
    pub waiting_cost: u64,
    pub in_flight: u64,
    pub oldest_waiting_ms: Option<u64>,
    pub oldest_running_ms: Option<u64>,

    pub latency: Histogram,
    pub wait: Histogram,
    pub service: Histogram,
}

impl ModelSignal {
    /// This model as if one class were all there is; `None` where the class had no request yet.
    pub fn of_class(&self, class: &str) -> Option<ModelSignal> {
        let found = self.classes.iter().find(|found| found.class == class)?;
        let mut only = ModelSignal {
            model: self.model.clone(),
            ..ModelSignal::default()
        };
        only.add(found);
        Some(only)
    }

    /// Adds what is of one class to the sums over all.
    pub fn add(&mut self, class: &ClassSignal) {
        self.arrivals_total += class.arrivals_total;
        self.answered_total += class.answered_total;
        self.failed_total += class.failed_total;
        self.shed_total += class.shed_total;
        self.expired_total += class.expired_total;
        self.aborted_total += class.aborted_total;
        self.retries_total += class.retries_total;
        self.waiting += class.waiting;
        self.waiting_bytes += class.waiting_bytes;
        self.in_flight += class.in_flight;
        self.oldest_waiting_ms = self.oldest_waiting_ms.max(class.oldest_waiting_ms);
        self.oldest_running_ms = self.oldest_running_ms.max(class.oldest_running_ms);
        self.latency.add(&class.latency);
        self.wait.add(&class.wait);
        self.service.add(&class.service);
    }
}

/// One worker as one proxy knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSignal {
    pub worker: String,
    pub boot: String,
    #[serde(default)]
    pub instance: Option<String>,
    pub address: SocketAddr,
    pub model: String,
    /// As the worker's last heartbeat said.
    pub state: WorkerState,
    /// Whether this proxy was ordered to drain it, or it drains by itself.
    pub draining: bool,
    /// Whether the proxy hands requests to it: ready, sending heartbeats and not draining.
    pub taking: bool,
    pub slots: u32,
    /// Permits that this proxy holds on it now.
    pub permits: u32,
    /// Slots that its last heartbeat said others hold.
    pub elsewhere: u32,
    /// Milliseconds since its last heartbeat.
    pub beat_age_ms: u64,
}
