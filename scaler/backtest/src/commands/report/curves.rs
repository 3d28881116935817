//! What the plots show: demand and supply, the queue, latency, and hours against violations.

use crate::rivals::Rival;
use crate::sim::{Outcome, Sample, Scenario};
use crate::trace::Demand;

use super::plot::{Chart, Curve, Dot, LEAST_LOG, Scale};
use crate::commands::matrix::{Figures, Judged, Run};

const MINUTE_S: f64 = 60.0;

/// The front goes on where misses are down to this share: less is chance.
const FEWER: f64 = 0.97;

/// The plots of one trace at one lead time, seed by seed the first only.
pub fn of_test_case(judged: &Judged<'_>) -> Vec<String> {
    let shown = shown(judged);
    let test_case = judged.test_case;
    let minutes = |curve: fn(&Outcome) -> Vec<(f64, f64)>| -> Vec<Curve> {
        let curves = shown.iter().map(|(class, run)| Curve {
            name: run.row.policy.clone(),
            kind: run.row.policy.clone(),
            class,
            points: curve(&run.outcome),
        });
        curves.collect()
    };
    let mut workers = vec![Curve {
        name: "busy workers that the demand needs".to_owned(),
        kind: "busy workers that the demand needs".to_owned(),
        class: "demand",
        points: needed(&test_case.scenario, &test_case.judged_on),
    }];
    workers.extend(minutes(supply));
    let slo_s = test_case.scenario.slo.as_secs_f64();
    let over_time = |title, y, curves, limit| Chart {
        title,
        x: "hours",
        y,
        scale: Scale::Linear,
        curves,
        dots: Vec::new(),
        limit,
    };
    let mut charts = vec![
        over_time("Demand and supply", "workers", workers, None),
        over_time("Queue", "requests in the queue", minutes(queue), None),
        over_time(
            "Latency, with the SLO",
            "p95 in seconds",
            minutes(latency),
            Some(slo_s),
        ),
    ];
    if !judged.rivals.is_empty() {
        charts.push(pareto(judged));
    }
    charts.iter().map(Chart::svg).collect()
}

/// Ours, and the rival that does best.
fn shown<'a>(judged: &'a Judged<'_>) -> Vec<(&'static str, &'a Run)> {
    let ours = judged.ours.first().map(|run| ("ours", run));
    let attainment = judged.test_case.scenario.attainment;
    let rival = crate::commands::show::ranked(attainment, judged)
        .into_iter()
        .find(|run| run.setting.is_some())
        .map(|run| ("rival", run));
    ours.into_iter().chain(rival).collect()
}

/// Workers that would be busy, minute by minute.
fn needed(scenario: &Scenario, demand: &Demand) -> Vec<(f64, f64)> {
    let mut minutes = vec![0.0; (demand.span_s() / MINUTE_S).ceil() as usize];
    let mut begins_s = 0.0;
    for segment in demand.segments() {
        share_out(&mut minutes, begins_s, segment.ends_s, segment.requests);
        begins_s = segment.ends_s;
    }
    let points = minutes.iter().enumerate().map(|(index, requests)| {
        let from_s = index as f64 * MINUTE_S;
        // The last minute may be a short one.
        let length_s = (demand.span_s() - from_s).clamp(1.0, MINUTE_S);
        (hours(from_s), requests / length_s / scenario.worker_rate())
    });
    points.collect()
}

/// Spreads requests over the minutes that their segment covers.
fn share_out(minutes: &mut [f64], from_s: f64, to_s: f64, requests: f64) {
    let length_s = to_s - from_s;
    let mut at_s = from_s;
    loop {
        let index = (at_s / MINUTE_S) as usize;
        let end_s = to_s.min((index + 1) as f64 * MINUTE_S);
        let share = if length_s > 0.0 {
            (end_s - at_s) / length_s
        } else {
            1.0
        };
        if let Some(minute) = minutes.get_mut(index) {
            *minute += requests * share;
        }
        if end_s >= to_s || end_s <= at_s {
            return;
        }
        at_s = end_s;
    }
}

/// Workers that are paid for and counted on.
fn supply(outcome: &Outcome) -> Vec<(f64, f64)> {
    let workers = |sample: &Sample| {
        let at = hours(sample.at.as_secs_f64());
        (at, f64::from(sample.serving + sample.booting))
    };
    outcome.timeline.iter().map(workers).collect()
}

/// Latency of what ended while there was demand.
fn latency(outcome: &Outcome) -> Vec<(f64, f64)> {
    let whole_minutes = (outcome.span.as_secs_f64() / MINUTE_S) as usize;
    let minutes = outcome.p95_ms_by_minute.iter().take(whole_minutes);
    minutes
        .enumerate()
        .map(|(index, ms)| (hours(index as f64 * MINUTE_S), f64::from(*ms) / 1000.0))
        .collect()
}

/// Mean number in the queue from each reading to the next.
fn queue(outcome: &Outcome) -> Vec<(f64, f64)> {
    let pairs = outcome.timeline.windows(2);
    pairs
        .map(|pair| {
            let passed_s = pair[1].at.saturating_sub(pair[0].at).as_secs_f64();
            let waited_s = pair[1].waiting_s - pair[0].waiting_s;
            (
                hours(pair[0].at.as_secs_f64()),
                waited_s / passed_s.max(1e-9),
            )
        })
        .collect()
}

fn hours(seconds: f64) -> f64 {
    seconds / 3600.0
}

/// Every policy at its hours and its violations, and where other targets would have brought it.
fn pareto(judged: &Judged<'_>) -> Chart {
    let dots: Vec<Dot> = judged.runs().map(|run| dot(run, run.figures())).collect();
    let mut chart = front_chart("Hours against violations", "instance-hours", dots);
    let rivals = Rival::ALL.map(Some);
    let sweeps = rivals.into_iter().chain([None]);
    chart
        .curves
        .extend(sweeps.filter_map(|whose| sweep(judged, whose)));
    chart
}

/// A policy from its leanest target to its most generous one.
fn sweep(judged: &Judged<'_>, whose: Option<Rival>) -> Option<Curve> {
    let swept = judged.swept.iter().filter(|swept| swept.rival == whose);
    let mut targets: Vec<(f64, Figures)> =
        swept.map(|swept| (swept.target, swept.figures)).collect();
    targets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let points: Vec<(f64, f64)> = targets.iter().map(|(_, figures)| at(*figures)).collect();
    let (name, kind, class) = match whose {
        Some(rival) => {
            let kind = "rivals at other targets".to_owned();
            (rival.name(), kind, "rival faint")
        }
        None => {
            let ours = judged.ours.first()?.row.policy.as_str();
            (ours, format!("{ours} at other attainments"), "ours")
        }
    };
    let (least, most) = (targets.first()?.0, targets.last()?.0);
    Some(Curve {
        name: format!("{name}, aiming at {least} to {most}"),
        kind,
        class,
        points,
    })
}

fn at(figures: Figures) -> (f64, f64) {
    (figures.hours, (figures.violations * 100.0).max(LEAST_LOG))
}

fn dot(run: &Run, figures: Figures) -> Dot {
    let (hours, violations) = at(figures);
    Dot {
        name: format!("{}: {hours:.2}, {violations:.2} % missed", run.row.policy),
        label: Some(run.row.policy.clone()),
        class: match run.setting {
            None => "ours",
            Some(_) => "rival",
        },
        at: (hours, violations),
    }
}

/// Labels stay with ours and with those on the front.
fn front_chart(title: &'static str, x: &'static str, mut dots: Vec<Dot>) -> Chart {
    let mut points: Vec<(f64, f64)> = dots.iter().map(|dot| dot.at).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut front: Vec<(f64, f64)> = Vec::new();
    for (hours, misses) in points {
        match front.last() {
            Some((_, best)) if misses > *best * FEWER => {}
            Some((_, best)) => front.extend([(hours, *best), (hours, misses)]),
            None => front.push((hours, misses)),
        }
    }
    for dot in &mut dots {
        if dot.class != "ours" && !front.contains(&dot.at) {
            dot.label = None;
        }
    }
    let front = Curve {
        name: "the best of all".to_owned(),
        kind: "the best of all".to_owned(),
        class: "demand",
        points: front,
    };
    Chart {
        title,
        x,
        y: "% missed that a free worker would have answered in time",
        scale: Scale::Log,
        curves: vec![front],
        dots,
        limit: None,
    }
}

/// Each policy in the mean over all traces, lead times and seeds.
pub fn pareto_of_all(results: &[Judged<'_>]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for run in results.iter().flat_map(Judged::runs) {
        if !names.contains(&run.row.policy.as_str()) {
            names.push(&run.row.policy);
        }
    }
    let dots = names.into_iter().filter_map(|name| {
        let runs = || {
            let runs = results.iter().flat_map(Judged::runs);
            runs.filter(|run| run.row.policy == name)
        };
        let count = runs().count() as f64;
        let over = |run: &Run| 1.0 + run.row.over_bound();
        let times = runs().map(over).sum::<f64>() / count;
        let violations = runs().map(|run| run.figures().violations).sum::<f64>() / count;
        let figures = Figures {
            hours: times,
            violations,
        };
        Some(dot(runs().next()?, figures))
    });
    let title = "Hours against violations, in the mean over everything below";
    let chart = front_chart(
        title,
        "instance-hours over the proven minimum",
        dots.collect(),
    );
    format!("<div class=\"whole\">{}</div>", chart.svg())
}
