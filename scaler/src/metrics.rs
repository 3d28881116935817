//! The scaler's own metrics, for Prometheus.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tidegate_control::{Basis, Decision, Fleet, Observation, Stage};

use crate::event::Event;

const STAGES: [&str; 4] = ["booting", "serving", "draining", "leaving"];

/// Begins to count; what was counted is rendered by the handle.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    describe_counter!("tidegate_scaler_ticks_total", "Ticks that decided");
    describe_gauge!("tidegate_scaler_tick_seconds", "Time the last tick took");
    describe_gauge!("tidegate_scaler_workers", "Workers by stage");
    describe_gauge!(
        "tidegate_scaler_needed_workers",
        "What the largest ask of the last tick came to, before windows, steps and bounds"
    );
    describe_gauge!(
        "tidegate_scaler_asked_workers",
        "What each signal asked for; absent while its value is not known"
    );
    describe_gauge!(
        "tidegate_scaler_signal_value",
        "Value of each signal, in requests, seconds, or requests a second"
    );
    describe_gauge!(
        "tidegate_scaler_proxy_up",
        "1 when the proxy gave its signal"
    );
    describe_counter!(
        "tidegate_scaler_changes_total",
        "Workers launched, drained, taken back, stopped and replaced"
    );
    describe_counter!(
        "tidegate_scaler_troubles_total",
        "Failed starts, unexpected ends, refused reloads and the like"
    );
    describe_gauge!(
        "tidegate_scaler_lead_seconds",
        "From launch to ready, of the worker that became ready last"
    );
    Ok(handle)
}

/// A tick has ended.
pub fn tick(took: Duration) {
    counter!("tidegate_scaler_ticks_total").increment(1);
    gauge!("tidegate_scaler_tick_seconds").set(took.as_secs_f64());
}

/// What one tick saw and decided.
pub fn decision(seen: &Observation, fleet: &Fleet, decision: &Decision) {
    gauge!("tidegate_scaler_needed_workers").set(f64::from(decision.need));
    for stage in STAGES {
        let count = fleet.workers.iter().filter(|w| name(w.stage) == stage);
        gauge!("tidegate_scaler_workers", "stage" => stage).set(count.count() as f64);
    }
    for proxy in &seen.proxies {
        let up = f64::from(u8::from(proxy.seen.is_some()));
        gauge!("tidegate_scaler_proxy_up", "proxy" => proxy.source.clone()).set(up);
    }
    for ask in &decision.reason.asks {
        let asked = ask.workers.map_or(f64::NAN, f64::from);
        gauge!("tidegate_scaler_asked_workers", "signal" => ask.term.clone()).set(asked);
        if let Basis::Measured { value, .. } = &ask.basis {
            let term = ask.term.clone();
            gauge!("tidegate_scaler_signal_value", "signal" => term).set(value.value);
        }
    }
    changes(decision);
}

/// Something that people were told.
pub fn event(event: &Event) {
    let trouble = match event {
        Event::WorkerReady { after, .. } => {
            gauge!("tidegate_scaler_lead_seconds").set(after.as_secs_f64());
            return;
        }
        Event::WorkerDied(_) => "worker_died",
        Event::LaunchFailed { .. } => "launch_failed",
        Event::BeatsLost => "beats_lost",
        Event::LedgerFailed { .. } => "ledger_failed",
        Event::OrderFailed { .. } => "order_failed",
        Event::PolicyRefused { .. } => "policy_refused",
        Event::ProxySilent { .. } => "proxy_silent",
        _ => return,
    };
    counter!("tidegate_scaler_troubles_total", "trouble" => trouble).increment(1);
}

fn changes(decision: &Decision) {
    let action = &decision.action;
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

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Booting => "booting",
        Stage::Serving { .. } => "serving",
        Stage::Draining { .. } => "draining",
        Stage::Quitting { .. } | Stage::Leaving => "leaving",
    }
}
