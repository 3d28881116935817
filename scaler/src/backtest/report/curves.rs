//! What the plots show: demand and supply, the queue, latency, and hours against misses.

use tidegate_control::sim::{Outcome, Sample, Scenario};
use tidegate_control::trace::Demand;

use super::plot::{Chart, Curve, Dot, LEAST_LOG, Scale};
use crate::backtest::matrix::{Judged, Run};

const MINUTE_S: f64 = 60.0;

/// The front goes on where misses are down to this share: less is chance.
const FEWER: f64 = 0.97;

/// The plots of one trace at one lead time, seed by seed the first only.
pub fn of_ground(judged: &Judged<'_>) -> Vec<String> {
    let shown = shown(judged);
    let ground = judged.ground;
    let minutes = |curve: fn(&Outcome) -> Vec<(f64, f64)>| -> Vec<Curve> {
        let curves = shown.iter().map(|(class, run)| Curve {
            name: run.row.policy.clone(),
            class,
            points: curve(&run.outcome),
        });
        curves.collect()
    };
    let mut workers = vec![Curve {
        name: "busy workers that the demand needs".to_owned(),
        class: "demand",
        points: needed(&ground.scenario, &ground.judged_on),
    }];
    workers.extend(minutes(supply));
    let slo_s = ground.scenario.slo.as_secs_f64();
    let over_time = |title, y, curves, limit| Chart {
        title,
        x: "hours",
        y,
        scale: Scale::Linear,
        curves,
        dots: Vec::new(),
        limit,
    };
    [
        over_time("Demand and supply", "workers", workers, None),
        over_time("Queue", "requests in line", minutes(queue), None),
        over_time(
            "Latency, with the SLO",
            "p95 in seconds",
            minutes(latency),
            Some(slo_s),
        ),
        pareto(judged),
    ]
    .iter()
    .map(Chart::svg)
    .collect()
}

/// Ours, and the rival that does best.
fn shown<'a>(judged: &'a Judged<'_>) -> Vec<(&'static str, &'a Run)> {
    let ours = judged.ours.first().map(|run| ("ours", run));
    let attainment = judged.ground.scenario.attainment;
    let rival = crate::backtest::show::ranked(attainment, judged)
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

/// Mean number in line from each reading to the next.
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

/// Every policy at its hours and its misses, and the front that none of them is behind of.
fn pareto(judged: &Judged<'_>) -> Chart {
    let dots: Vec<Dot> = judged
        .runs()
        .map(|run| dot(run, run.row.instance_hours))
        .collect();
    front_chart("Hours against misses", "instance-hours", dots)
}

fn dot(run: &Run, hours: f64) -> Dot {
    let misses = (1.0 - run.row.attainment) * 100.0;
    Dot {
        name: format!("{}: {hours:.2}, {misses:.2} % missed", run.row.policy),
        label: Some(run.row.policy.clone()),
        class: match run.setting {
            None => "ours",
            Some(_) => "rival",
        },
        at: (hours, misses.max(LEAST_LOG)),
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
    Chart {
        title,
        x,
        y: "% missed",
        scale: Scale::Log,
        curves: vec![Curve {
            name: "the best of all".to_owned(),
            class: "demand",
            points: front,
        }],
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
        let over = |run: &Run| run.row.instance_hours / run.row.lower_bound_hours;
        let times = runs().map(over).sum::<f64>() / count;
        let misses = runs().map(|run| 1.0 - run.row.attainment).sum::<f64>() / count * 100.0;
        let first = runs().next()?;
        Some(Dot {
            name: format!("{name}: {times:.2} times the minimum, {misses:.2} % missed"),
            at: (times, misses.max(LEAST_LOG)),
            ..dot(first, times)
        })
    });
    let title = "Hours against misses, in the mean over everything below";
    let chart = front_chart(
        title,
        "instance-hours over the proven minimum",
        dots.collect(),
    );
    format!("<div class=\"plots\">{}</div>", chart.svg())
}
