//! The scaler's own metrics, for Prometheus.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{SetRecorderError, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tidegate_control::{Action, Ask, Basis, Decision, Fleet, Guard, Observation, Stage};

use crate::by_fleet::ByFleet;
use crate::event::Event;
use crate::fleet::FleetStatus;

/// What workers are counted by.
pub const STAGES: [&str; 4] = ["booting", "serving", "draining", "leaving"];

/// Begins to count; what was counted is rendered by the handle.
pub fn install() -> Result<PrometheusHandle, SetRecorderError<ByFleet<PrometheusRecorder>>> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(ByFleet(recorder))?;
    describe_counter!("tidegate_scaler_ticks_total", "Ticks that decided");
    describe_gauge!("tidegate_scaler_tick_seconds", "Time the last tick took");
    describe_gauge!("tidegate_scaler_workers", "Workers by stage");
    describe_gauge!(
        "tidegate_scaler_needed_workers",
        "What the largest ask of the last tick came to, before windows, steps and bounds"
    );
    describe_gauge!(
        "tidegate_scaler_asked_workers",
        "Workers that each signal asks for; NaN while it asks for none"
    );
    describe_gauge!(
        "tidegate_scaler_signal_value",
        "Value of each signal, in requests, seconds, or requests per second; NaN while it is unknown"
    );
    describe_gauge!(
        "tidegate_scaler_proxy_up",
        "1 when the proxy answered with its signal"
    );
    describe_counter!(
        "tidegate_scaler_changes_total",
        "Workers launched, drained, undrained, stopped and replaced; none in a dry run"
    );
    describe_counter!(
        "tidegate_scaler_failed_starts_total",
        "Workers that could not be launched, or ended before they had been ready for 10 s"
    );
    describe_counter!(
        "tidegate_scaler_troubles_total",
        "Unexpected ends, refused reloads and similar, each counted once until it is over"
    );
    describe_gauge!(
        "tidegate_scaler_cost_per_hour",
        "Cost per hour of the fleet at its present size, by cost.price_per_hour"
    );
    describe_gauge!(
        "tidegate_scaler_leader",
        "1 while this scaler holds the lease and acts; 0 while it watches"
    );
    describe_gauge!(
        "tidegate_scaler_by_hand",
        "1 while an operator's order fixes the size (pause, hold)"
    );
    describe_gauge!(
        "tidegate_scaler_source_fallback",
        "1 while the source's fallback replaces its value"
    );
    describe_gauge!(
        "tidegate_scaler_mass_silence",
        "1 while most workers are silent together and none is replaced (fleet.mass_silence)"
    );
    describe_gauge!(
        "tidegate_scaler_fleet_desired",
        "Members that the fleet was asked for, where that differs from what it has"
    );
    describe_gauge!(
        "tidegate_scaler_fleet_warm",
        "Prepared instances besides the members"
    );
    describe_gauge!(
        "tidegate_scaler_capacity_unavailable",
        "1 while the fleet cannot launch because capacity is short"
    );
    describe_gauge!(
        "tidegate_scaler_source_up",
        "1 while the source's value is fresh"
    );
    describe_gauge!(
        "tidegate_scaler_lead_seconds",
        "Seconds from launch to ready of the worker that became ready last"
    );
    describe_counter!(
        "tidegate_scaler_published_total",
        "Data points that CloudWatch accepted, or that were written for it"
    );
    describe_counter!(
        "tidegate_scaler_publish_dropped_total",
        "Data points that were dropped: CloudWatch did not answer for too long, or refused them"
    );
    describe_gauge!(
        "tidegate_scaler_publish_backlog",
        "Intervals that are not published yet"
    );
    Ok(handle)
}

/// Whether this scaler acts.
pub fn leader(leads: bool) {
    gauge!("tidegate_scaler_leader").set(f64::from(u8::from(leads)));
}

/// A tick has ended.
pub fn tick(took: Duration) {
    counter!("tidegate_scaler_ticks_total").increment(1);
    gauge!("tidegate_scaler_tick_seconds").set(took.as_secs_f64());
}

/// What one tick saw and decided.
pub fn decision(seen: &Observation, fleet: &Fleet, decision: &Decision) {
    gauge!("tidegate_scaler_needed_workers").set(f64::from(decision.need));
    if let Some(cost) = decision.cost_per_hour {
        gauge!("tidegate_scaler_cost_per_hour").set(cost);
    }
    let is_by_hand = |guard: &Guard| matches!(guard, Guard::Override { .. });
    let by_hand = decision.reason.guards.iter().any(is_by_hand);
    gauge!("tidegate_scaler_by_hand").set(f64::from(u8::from(by_hand)));
    let silence = decision.reason.guards.contains(&Guard::MassSilence);
    gauge!("tidegate_scaler_mass_silence").set(f64::from(u8::from(silence)));
    for stage in STAGES {
        let count = fleet
            .workers
            .iter()
            .filter(|w| stage_name(w.stage) == stage);
        gauge!("tidegate_scaler_workers", "stage" => stage).set(count.count() as f64);
    }
    for proxy in &seen.proxies {
        let up = f64::from(u8::from(proxy.seen.is_some()));
        gauge!("tidegate_scaler_proxy_up", "proxy" => proxy.source.clone()).set(up);
    }
}

/// Terms that have asked for workers so far.
#[derive(Debug, Default)]
pub struct Asked(BTreeSet<String>);

impl Asked {
    /// What was asked for at a tick. Terms that were not asked keep no old value.
    pub fn set(&mut self, asks: &[Ask]) {
        self.0.extend(asks.iter().map(|ask| ask.term.clone()));
        for term in &self.0 {
            let ask = asks.iter().find(|ask| ask.term == *term);
            let asked = ask.and_then(|ask| ask.workers).map_or(f64::NAN, f64::from);
            let value = match ask.map(|ask| &ask.basis) {
                Some(Basis::Measured { value, .. }) => value.value,
                Some(Basis::Forecast { per_s, .. }) => *per_s,
                Some(Basis::Formula { value }) => *value,
                _ => f64::NAN,
            };
            gauge!("tidegate_scaler_asked_workers", "signal" => term.clone()).set(asked);
            gauge!("tidegate_scaler_signal_value", "signal" => term.clone()).set(value);
        }
    }
}

/// What the fleet says of itself.
pub fn status(status: &FleetStatus) {
    if let Some(desired) = status.desired {
        gauge!("tidegate_scaler_fleet_desired").set(f64::from(desired));
        gauge!("tidegate_scaler_fleet_warm").set(f64::from(status.warm));
        let short = f64::from(u8::from(status.is_short));
        gauge!("tidegate_scaler_capacity_unavailable").set(short);
    }
}

/// A worker's start failed.
pub fn failed_start() {
    counter!("tidegate_scaler_failed_starts_total").increment(1);
}

/// An event that was logged.
pub fn event(event: &Event) {
    let trouble = match event {
        Event::WorkerReady { after, .. } => {
            gauge!("tidegate_scaler_lead_seconds").set(after.as_secs_f64());
            return;
        }
        Event::ProxyLeft { proxy } => {
            gauge!("tidegate_scaler_proxy_up", "proxy" => proxy.clone()).set(f64::NAN);
            return;
        }
        Event::WorkerDied(_) => "worker_died",
        Event::LaunchFailed { .. } => "launch_failed",
        Event::HeartbeatsLost => "beats_lost",
        Event::LedgerFailed { .. } => "ledger_failed",
        Event::LearnedUnkept { .. } => "learned_unkept",
        Event::LearnedUnread { .. } => "learned_unread",
        Event::LeaseUnreached { .. } => "lease_unreached",
        Event::MemoryUnread { .. } => "memory_unread",
        Event::OrderFailed { .. } => "order_failed",
        Event::PolicyRefused { .. } => "policy_refused",
        Event::ProxySilent { .. } => "proxy_silent",
        Event::Fleet(notice) if notice.is_warning() => notice.name(),
        _ => return,
    };
    counter!("tidegate_scaler_troubles_total", "trouble" => trouble).increment(1);
}

/// What is done about a decision.
pub fn changes(action: &Action) {
    for (change, count) in [
        ("launch", action.launch as usize),
        ("undrain", action.undrain.len()),
        ("drain", action.drain.len()),
        ("remove", action.remove.len()),
        ("replace", action.replace.len()),
    ] {
        counter!("tidegate_scaler_changes_total", "change" => change).increment(count as u64);
    }
}

/// One of [`STAGES`].
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Booting => "booting",
        Stage::Serving { .. } => "serving",
        Stage::Draining { .. } => "draining",
        Stage::Quitting { .. } | Stage::Leaving => "leaving",
    }
}
