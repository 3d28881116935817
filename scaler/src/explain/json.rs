//! The story for programs: its parts as JSON.

use serde_json::{Map, Value, json};
use tidegate_control::Time;

use super::story::{Calm, Told};
use super::utc;

/// A part of the story. `event` says which.
pub(super) fn part(told: &Told<'_>) -> Value {
    match told {
        Told::Change { at, decision } => {
            let asks = decision.reason.asks.iter();
            let asked = asks.map(|ask| (ask.term.clone(), json!(ask.workers)));
            json!({
                "at": time(*at), "event": "change", "decision": decision.to_string(),
                "due_to": decision.reason.due_to(), "asked": asked.collect::<Map<_, _>>(),
            })
        }
        Told::Failed { at, failed } => {
            json!({"at": time(*at), "event": "failed", "failed": failed})
        }
        Told::ByHand { at, order, until } => json!({
            "at": time(*at), "event": "by_hand", "order": order, "until": until.map(time),
        }),
        Told::Calm(calm) => stretch("calm", calm),
        Told::Total(whole) => stretch("total", whole),
    }
}

fn stretch(event: &str, calm: &Calm) -> Value {
    let terms = calm.by_time().into_iter().map(|(name, term)| {
        json!({"term": name, "seconds": term.won_seconds, "asked_at_most": term.most})
    });
    json!({
        "event": event,
        "seconds": calm.seconds,
        "instance_hours": calm.worker_seconds / 3600.0,
        "cost": calm.cost,
        "most_waiting": calm.most_waiting,
        "blind_seconds": calm.blind_seconds,
        "due_to": terms.collect::<Vec<_>>(),
    })
}

fn time(at: Time) -> String {
    utc(at).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
