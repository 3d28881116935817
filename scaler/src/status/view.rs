//! One fleet at its last tick, as the page and `/api/status` show it.

use serde::{Deserialize, Serialize};
use tidegate_control::{Basis, Decision, Guard, Stage, Time, WorkerObservation};

use super::history::in_stage;
use super::queues::QueueView;
use crate::ledger::Tick;

/// Times are milliseconds, moments milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    pub fleet: String,
    pub at: u64,
    /// What the policy needs, before windows, steps and bounds.
    pub need: u32,
    /// What the forecast asks for, where the policy has one.
    pub forecast: Option<u32>,
    /// The policy's bounds.
    pub min: u32,
    pub max: u32,
    pub serving: usize,
    pub booting: usize,
    /// Requests that the serving workers take at once.
    pub slots: u32,
    /// Requests in the queue, at all proxies together.
    pub waiting: u64,
    /// Requests at workers.
    pub in_flight: u64,
    pub oldest_waiting_ms: Option<u64>,
    /// Arrivals per second over the last minute.
    pub per_s: f64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The latency that the policy promises.
    pub slo_ms: Option<f64>,
    pub cost_per_hour: Option<f64>,
    /// Since this scaler began to watch, the ledger that it read included.
    pub cost_total: Option<f64>,
    /// The decision in a sentence.
    pub reason: String,
    /// What keeps the fleet from the size that is needed.
    pub holds: Vec<String>,
    /// Until when an operator holds the size, and their order.
    pub held_until: Option<u64>,
    pub order: Option<String>,
    pub queues: Vec<QueueView>,
    pub workers: Vec<WorkerView>,
    pub proxies: Vec<ProxyView>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerView {
    pub id: String,
    pub state: String,
    pub launched: u64,
    pub slots: u32,
    /// Slots taken, through all proxies and from elsewhere.
    pub busy: u32,
    /// Since the newest heartbeat that a proxy had.
    pub heartbeat_age_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyView {
    pub address: String,
    pub up: bool,
}

impl View {
    /// What one tick says by itself; the history adds rates, percentiles and cost.
    pub fn of(fleet: &str, at: Time, tick: &Tick) -> View {
        let seen = || (tick.observation.proxies.iter()).filter_map(|proxy| proxy.seen.as_ref());
        let decision = &tick.decision;
        let workers = workers(tick);
        let of_hand = |guard: &Guard| match guard {
            Guard::Override { by_hand } => Some(by_hand.until.as_ms()),
            _ => None,
        };
        View {
            fleet: fleet.to_owned(),
            at: at.as_ms(),
            need: decision.need,
            forecast: forecast(decision),
            min: 0,
            max: 0,
            serving: in_stage(tick, |stage| matches!(stage, Stage::Serving { .. })),
            booting: in_stage(tick, |stage| matches!(stage, Stage::Booting)),
            slots: (workers.iter())
                .filter(|worker| worker.state == "serving")
                .map(|worker| worker.slots)
                .sum(),
            waiting: seen().map(|seen| seen.waiting).sum(),
            in_flight: seen().map(|seen| seen.in_flight).sum(),
            oldest_waiting_ms: seen().filter_map(|seen| seen.oldest_waiting_ms).max(),
            per_s: 0.0,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            slo_ms: None,
            cost_per_hour: decision.cost_per_hour,
            cost_total: None,
            reason: decision.to_string(),
            holds: decision
                .reason
                .guards
                .iter()
                .map(ToString::to_string)
                .collect(),
            held_until: decision.reason.guards.iter().find_map(of_hand),
            order: None,
            queues: Vec::new(),
            workers,
            proxies: (tick.observation.proxies.iter())
                .map(|proxy| ProxyView {
                    address: proxy.source.clone(),
                    up: proxy.seen.is_some(),
                })
                .collect(),
        }
    }
}

/// What the forecast's term asks for.
fn forecast(decision: &Decision) -> Option<u32> {
    let mut asks = decision.reason.asks.iter();
    let ask = asks.find(|ask| matches!(ask.basis, Basis::Forecast { .. }))?;
    ask.workers
}

fn workers(tick: &Tick) -> Vec<WorkerView> {
    let known = |id: &str| -> Vec<&WorkerObservation> {
        let seen = (tick.observation.proxies.iter()).filter_map(|proxy| proxy.seen.as_ref());
        seen.flat_map(|seen| &seen.workers)
            .filter(|worker| worker.id == id)
            .collect()
    };
    let view = |worker: &tidegate_control::Worker| {
        let known = known(&worker.id);
        let permits: u32 = known.iter().map(|worker| worker.permits).sum();
        // Each proxy counts the permits of the others as held elsewhere.
        let most = known
            .iter()
            .map(|worker| worker.permits + worker.elsewhere)
            .max();
        WorkerView {
            id: worker.id.clone(),
            state: state(&worker.stage).to_owned(),
            launched: worker.launched.as_ms(),
            slots: known.iter().map(|worker| worker.slots).max().unwrap_or(0),
            busy: most.unwrap_or(0).max(permits),
            heartbeat_age_ms: known.iter().map(|worker| worker.beat_age_ms).min(),
        }
    };
    tick.fleet.workers.iter().map(view).collect()
}

fn state(stage: &Stage) -> &'static str {
    match stage {
        Stage::Booting => "booting",
        Stage::Serving { .. } => "serving",
        Stage::Draining { .. } => "draining",
        Stage::Quitting { .. } => "draining by itself",
        Stage::Leaving => "leaving",
    }
}
