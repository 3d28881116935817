//! What is shown, as text: a sentence, figures, tables. Screen and plain text lay it out.

use super::units::{NONE, count, duration, milliseconds, money, per_second, time};
use crate::status::{BatchesView, By, Change, View};

/// Decisions of the past that are shown.
const DECISIONS: usize = 100;

/// One value with its name.
#[derive(Debug, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    pub value: String,
    /// It breaks what is promised.
    pub bad: bool,
}

/// Rows under a head; the last column may be long.
#[derive(Debug, PartialEq)]
pub struct Grid {
    pub title: &'static str,
    /// A sentence above the rows.
    pub note: Option<String>,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    /// What there is instead of rows.
    pub empty: &'static str,
}

pub fn size(view: &View) -> String {
    let serve = if view.serving == 1 { "serves" } else { "serve" };
    let workers = count(view.serving as u64, "worker", "workers");
    let boots = match view.booting {
        0 => String::new(),
        1 => ", 1 more boots".to_owned(),
        booting => format!(", {booting} more boot"),
    };
    let View { need, min, max, .. } = view;
    format!("{workers} {serve}{boots}; {need} needed, {min} to {max} allowed")
}

/// An operator's order, while there is one.
pub fn order(view: &View) -> Option<String> {
    let until = time(view.held_until?);
    let order = view.order.as_deref().unwrap_or("held by hand");
    Some(format!("{order}, until {until} UTC"))
}

/// What limits the fleet has lines of its own.
pub fn reason(view: &View) -> String {
    view.holds.iter().fold(view.reason.clone(), |text, hold| {
        text.replace(&format!("; {hold}"), "")
            .replace(&format!("{hold}; "), "")
    })
}

pub fn figures(view: &View) -> Vec<Figure> {
    let late = match (view.p95_ms, view.slo_ms) {
        (Some(p95), Some(slo)) => p95 > slo,
        _ => false,
    };
    let figure = |name, value: String| Figure {
        name,
        value,
        bad: name == "p95" && late,
    };
    vec![
        figure("Workers serving", view.serving.to_string()),
        figure("Workers needed", view.need.to_string()),
        figure("In the queue", view.waiting.to_string()),
        figure("At workers", view.in_flight.to_string()),
        figure("Oldest wait", milliseconds(view.oldest_waiting_ms)),
        figure("Requests/s", per_second(Some(view.per_s))),
        figure("p50", duration(view.p50_ms)),
        figure("p95", duration(view.p95_ms)),
        figure("p99", duration(view.p99_ms)),
        figure("SLO", duration(view.slo_ms)),
        figure("Cost per hour", money(view.cost_per_hour)),
        figure("Cost so far", money(view.cost_total)),
    ]
}

/// Every table of a fleet; that of batches where there is a batch service.
pub fn grids(view: &View, batches: Option<&BatchesView>, past: &[Change]) -> Vec<Grid> {
    let mut grids = vec![workers(view), queues(view, batches)];
    grids.extend(batches.map(batch_grid));
    grids.push(decisions(past));
    grids
}

fn workers(view: &View) -> Grid {
    let silent: Vec<&str> = (view.proxies.iter())
        .filter(|proxy| !proxy.up)
        .map(|proxy| &*proxy.address)
        .collect();
    let (all, up) = (view.proxies.len(), view.proxies.len() - silent.len());
    let silent = match silent.is_empty() {
        true => String::new(),
        false => format!("; silent: {}", silent.join(", ")),
    };
    let rows = view.workers.iter().map(|worker| {
        let heartbeat = match worker.heartbeat_age_ms {
            Some(age) => format!("{} ago", milliseconds(Some(age))),
            None => "none yet".to_owned(),
        };
        let busy = match worker.slots {
            0 => NONE.to_owned(),
            slots => format!("{} of {slots}", worker.busy),
        };
        let age = view.at.saturating_sub(worker.launched);
        let age = milliseconds(Some(age));
        vec![
            worker.id.clone(),
            worker.state.clone(),
            busy,
            heartbeat,
            age,
        ]
    });
    Grid {
        title: "Workers",
        note: Some(format!("{up} of {all} proxies answer{silent}")),
        head: vec!["Worker", "State", "Slots busy", "Heartbeat", "Age"],
        rows: rows.collect(),
        empty: "no workers",
    }
}

fn queues(view: &View, batches: Option<&BatchesView>) -> Grid {
    let rows = view.queues.iter().map(|queue| {
        let class = match queue.class.is_empty() {
            true => NONE.to_owned(),
            false => queue.class.clone(),
        };
        vec![
            queue.model.clone(),
            class,
            queue.waiting.to_string(),
            milliseconds(queue.oldest_waiting_ms),
            queue.in_flight.to_string(),
            queue.arrivals_total.to_string(),
            queue.answered_total.to_string(),
            queue.refused_total.to_string(),
            (queue.failed_total + queue.aborted_total).to_string(),
        ]
    });
    let report = batches.and_then(|batches| batches.report.as_ref());
    let report = report.filter(|report| report.oldest_ms.is_some() || report.lines_waiting > 0);
    let lines = report.map(|report| {
        let known = [
            "batch service".to_owned(),
            report.class.clone(),
            report.lines_waiting.to_string(),
            milliseconds(report.oldest_ms),
        ];
        let unknown = std::iter::repeat_n(NONE.to_owned(), 5);
        known.into_iter().chain(unknown).collect()
    });
    Grid {
        title: "Queue",
        note: None,
        head: vec![
            "Model",
            "Class",
            "In queue",
            "Oldest",
            "At workers",
            "Arrived",
            "Answered",
            "Refused",
            "Failed or left",
        ],
        rows: rows.chain(lines).collect(),
        empty: "no requests yet",
    }
}

fn batch_grid(batches: &BatchesView) -> Grid {
    let note = match (&batches.report, &batches.why) {
        (Some(report), _) => {
            let held = if report.held {
                "; the proxy takes no more of them now"
            } else {
                ""
            };
            format!(
                "{} lines wait at the batch service, {} are at the proxy{held}",
                report.lines_waiting, report.lines_in_flight
            )
        }
        (None, why) => {
            let why = why.as_deref().unwrap_or_default();
            format!(
                "The batch service at {} does not answer: {why}",
                batches.address
            )
        }
    };
    let all = batches.report.iter().flat_map(|report| &report.batches);
    let rows = all.map(|batch| {
        let asks = match &batch.model {
            Some(model) => format!("{} {model}", batch.endpoint),
            None => batch.endpoint.clone(),
        };
        let failed = match batch.failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        vec![
            batch.id.clone(),
            asks,
            batch.key.clone().unwrap_or_else(|| NONE.to_owned()),
            format!("{} of {}{failed}", batch.done, batch.lines),
            batch.status.replace('_', " "),
            per_second(batch.per_s),
            milliseconds(batch.left_ms),
            milliseconds(Some(batch.age_ms)),
        ]
    });
    Grid {
        title: "Batches",
        note: Some(note),
        head: vec![
            "Batch",
            "Endpoint and model",
            "Key",
            "Lines done",
            "State",
            "Lines/s",
            "Time left",
            "Age",
        ],
        rows: rows.collect(),
        empty: if batches.up {
            "no batches"
        } else {
            "not known"
        },
    }
}

fn decisions(past: &[Change]) -> Grid {
    let row = |change: &Change| {
        let by = match change.by {
            By::Policy => "policy",
            By::Operator => "operator",
        };
        let size = change.size.map(|(from, to)| format!("{from} → {to}"));
        vec![
            time(change.at),
            by.to_owned(),
            size.unwrap_or_else(|| NONE.to_owned()),
            change.reason.clone(),
        ]
    };
    Grid {
        title: "Decisions",
        note: None,
        head: vec!["Time (UTC)", "By", "Workers", "Why"],
        rows: past.iter().rev().take(DECISIONS).map(row).collect(),
        empty: "no changes yet",
    }
}
