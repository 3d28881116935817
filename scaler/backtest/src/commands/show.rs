//! The table in the terminal.

use std::io::{self, Write};

use super::matrix::{Effort, Field, Judged, Plan, Run, TestCase};

/// What is about to be run, and the names of the columns.
pub fn head(plan: &Plan, test_cases: &[TestCase]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for note in notes(plan, test_cases) {
        writeln!(out, "{note}")?;
    }
    let cost = plan.price_per_hour().map_or("", |_| "      cost");
    writeln!(
        out,
        "\n{:<30} {:>6} {:>4} {:<18} {:>9} {:>9} {:>9} {:>9} {:>7} {:>6} {:>8}{cost}",
        "trace",
        "lead",
        "seed",
        "policy",
        "in time",
        "p99",
        "hours",
        "over min",
        "rev/h",
        "killed",
        "bad min"
    )
}

/// What a reader must know of the runs, as sentences.
pub fn notes(plan: &Plan, test_cases: &[TestCase]) -> Vec<String> {
    let scenario = &plan.scenario;
    let (slo, target) = (scenario.slo, scenario.attainment * 100.0);
    let mut notes = vec![format!(
        "{target} % of requests are to be answered within {slo}; \"over min\" is hours above the \
         proven minimum for that."
    )];
    let mut named: Option<&str> = None;
    for test_case in test_cases {
        if named.replace(&test_case.trace) == Some(&test_case.trace) {
            continue;
        }
        let tuned_s = test_case
            .tuned_on
            .as_ref()
            .map_or(0.0, |demand| demand.span_s());
        let replayed_s = tuned_s + test_case.judged_on.span_s();
        if replayed_s < test_case.recorded_s - 1.0 {
            notes.push(format!(
                "{}: {:.1} h of {:.1} h are replayed, from {}.",
                test_case.trace,
                replayed_s / 3600.0,
                test_case.recorded_s / 3600.0,
                scenario.from,
            ));
        }
    }
    if plan.field == Field::Rivals {
        let settings = match plan.effort {
            Effort::Full => 30,
            Effort::Quick => 10,
        };
        notes.push(format!(
            "Rivals are tuned on the first half of each trace ({settings} settings each); the policy \
             is not. All are judged on the second half."
        ));
    }
    notes
}

/// The rows of one trace at one lead time: ours, then rivals by how much they need.
pub fn result(plan: &Plan, judged: &Judged<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for run in ranked(plan.scenario.attainment, judged) {
        let row = &run.row;
        let lead = format!("{} s", row.lead_time_s);
        let over = row.over_bound() * 100.0;
        let cost = row
            .cost
            .map_or(String::new(), |cost| format!(" {cost:>9.2}"));
        writeln!(
            out,
            "{:<30.30} {:>6} {:>4} {:<18} {:>7.2} % {:>6.0} ms {:>9.2} {:>+7.1} % {:>7.1} {:>6} {:>8}{cost}",
            row.trace,
            lead,
            row.seed,
            row.policy,
            row.attainment * 100.0,
            row.p99_ms,
            row.instance_hours,
            over,
            row.reversals_per_hour,
            row.killed_in_flight,
            row.violation_minutes,
        )?;
    }
    Ok(())
}

/// Ours first, then those that keep the promise from the cheapest on, then the others.
pub fn ranked<'a>(attainment: f64, judged: &'a Judged<'_>) -> Vec<&'a Run> {
    let mut rivals: Vec<&Run> = judged.rivals.iter().collect();
    rivals.sort_by(|a, b| {
        let misses = |run: &Run| run.row.attainment < attainment;
        let order = misses(a).cmp(&misses(b));
        let worth = |run: &Run| match misses(run) {
            false => run.row.instance_hours,
            true => -run.row.attainment,
        };
        order.then(worth(a).total_cmp(&worth(b)))
    });
    judged.ours.iter().chain(rivals).collect()
}

/// What it all comes to.
pub fn tail(summary: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !summary.is_empty() {
        writeln!(out)?;
    }
    summary.iter().try_for_each(|line| writeln!(out, "{line}"))
}
