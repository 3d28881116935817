//! The report: one page that needs nothing else, with plots, the table, the scenario and seeds.
//!
//! No scripts and no fonts from elsewhere; plots are inline SVG in colours of the page's style,
//! light or dark as the reader's system is.

mod curves;
mod plot;

use std::fmt::{self, Display, Write};

use toml_edit::DocumentMut;

use super::inputs::Inputs;
use super::matrix::{Field, Judged, Plan, Run};
use super::show;

const STYLE: &str = include_str!("style.css");

const COLUMNS: [&str; 9] = [
    "policy",
    "seed",
    "in time",
    "p99",
    "instance-hours",
    "over minimum",
    "reversals/h",
    "killed",
    "bad minutes",
];

/// The page as text.
pub fn page(plan: &Plan, inputs: &Inputs, results: &[Judged<'_>], summary: &[String]) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, plan, inputs, results, summary);
    page
}

fn write_page(
    page: &mut String,
    plan: &Plan,
    inputs: &Inputs,
    results: &[Judged<'_>],
    summary: &[String],
) -> fmt::Result {
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Tidegate backtest</title><style>{STYLE}</style></head><body><main>\
         <h1>Tidegate backtest</h1>"
    )?;
    let test_cases = results.iter().map(|judged| judged.test_case);
    let notes = test_cases.flat_map(|test_case| show::notes(plan, std::slice::from_ref(test_case)));
    let mut shown: Vec<String> = Vec::new();
    for note in notes {
        if !shown.contains(&note) {
            writeln!(page, "<p>{}</p>", Text(&note))?;
            shown.push(note);
        }
    }
    figures(page, summary)?;
    if plan.field == Field::Rivals {
        page.push_str(&curves::pareto_of_all(results));
    }
    for judged in results {
        section(page, plan, judged)?;
    }
    let seeds: Vec<String> = plan.seeds.iter().map(u64::to_string).collect();
    writeln!(
        page,
        "<h2>What was run</h2><p>Seeds: {}. Version {}.</p><h3>Scenario</h3><pre>{}</pre>\
         <h3>Policy</h3><pre>{}</pre></main></body></html>",
        seeds.join(", "),
        env!("CARGO_PKG_VERSION"),
        Text(&inputs.scenario_text),
        Text(&without_addresses(&inputs.policy_text)),
    )
}

/// The lines of the summary, each with what it is about before the colon.
fn figures(page: &mut String, summary: &[String]) -> fmt::Result {
    if summary.is_empty() {
        return Ok(());
    }
    page.push_str("<dl>");
    for line in summary {
        let (what, found) = line.split_once(": ").unwrap_or(("", line));
        write!(page, "<dt>{}</dt><dd>{}</dd>", Text(what), Text(found))?;
    }
    page.push_str("</dl>");
    Ok(())
}

/// The policy without the tables that say where things are: a report is passed on.
fn without_addresses(policy: &str) -> String {
    let Ok(mut document) = policy.parse::<DocumentMut>() else {
        return String::new();
    };
    for table in ["proxies", "scaler", "process", "up"] {
        document.remove(table);
    }
    document.to_string()
}

/// One trace at one lead time.
fn section(page: &mut String, plan: &Plan, judged: &Judged<'_>) -> fmt::Result {
    let name = judged.test_case.name();
    write!(
        page,
        "<section><h2>{}</h2><div class=\"plots\">",
        Text(&name)
    )?;
    for svg in curves::of_test_case(judged) {
        page.push_str(&svg);
    }
    write!(
        page,
        "</div><table><caption>{}</caption><thead><tr>",
        Text(&name)
    )?;
    for column in COLUMNS {
        write!(page, "<th scope=\"col\">{column}</th>")?;
    }
    if plan.price_per_hour().is_some() {
        page.push_str("<th scope=\"col\">cost</th>");
    }
    page.push_str("</tr></thead><tbody>");
    let attainment = plan.scenario.attainment;
    for run in show::ranked(attainment, judged) {
        row(page, attainment, run)?;
    }
    page.push_str("</tbody></table></section>\n");
    Ok(())
}

fn row(page: &mut String, attainment: f64, run: &Run) -> fmt::Result {
    let row = &run.row;
    let class = match (run.setting, row.attainment >= attainment) {
        (None, _) => "ours",
        (Some(_), true) => "keeps",
        (Some(_), false) => "misses",
    };
    let setting = run.setting.map_or(String::new(), |setting| {
        let (target, window_s) = (setting.target, setting.window.as_secs());
        format!(" title=\"target {target}, window {window_s} s\"")
    });
    let over = row.over_bound() * 100.0;
    let cost = row
        .cost
        .map_or(String::new(), |cost| format!("<td>{cost:.2}</td>"));
    write!(
        page,
        "<tr class=\"{class}\"><th scope=\"row\"{setting}>{}</th><td>{}</td><td>{:.2} %</td>\
         <td>{:.0} ms</td><td>{:.2}</td><td>{over:+.1} %</td><td>{:.1}</td><td>{}</td>\
         <td>{}</td>{cost}</tr>",
        Text(&row.policy),
        row.seed,
        row.attainment * 100.0,
        row.p99_ms,
        row.instance_hours,
        row.reversals_per_hour,
        row.killed_in_flight,
        row.violation_minutes,
    )
}

/// Text as HTML shows it.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            c => f.write_char(c),
        })
    }
}
