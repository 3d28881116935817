//! `tune`: searches a policy's few numbers on the first half of the traces and judges what it
//! found on the second.
//!
//! The search may use the rate mode where that agrees with requests one by one; what is reported and
//! written is judged one by one.

mod knobs;
mod search;
mod test_case;

use std::fmt;
use std::io::Write;

use crate::case::Mode;
use anyhow::Context;
use serde::Serialize;
use tidegate_control::Policy;
use toml_edit::DocumentMut;

use super::args::TuneArgs;
use search::{Candidate, Search};
use test_case::{Judged, TestCase};
use tidegate_policy::PolicyFile;

pub fn tune(args: &TuneArgs) -> anyhow::Result<()> {
    let policy: PolicyFile = tidegate_config::load(&args.policy)?;
    let before = policy.policy();
    let what = || format!("cannot read {}", args.policy.display());
    let text = std::fs::read_to_string(&args.policy).with_context(what)?;
    let document: DocumentMut = text.parse().with_context(what)?;
    let mut test_cases = test_case::read(args)?;
    (test_cases.iter_mut()).for_each(|test_case| test_case.choose_mode(&before));

    let search = Search {
        file: &args.policy,
        test_cases: &test_cases,
    };
    let (mut found, tried) = search.best(Candidate {
        cost: test_case::cost(&test_cases, &before),
        document: document.clone(),
    });
    let mut after = search::parse(&found.document, &args.policy)?;
    if test_case::exact_cost(&test_cases, &after) > test_case::exact_cost(&test_cases, &before) {
        (found.document, after) = (document.clone(), before.clone());
    }

    let outcome = Outcome {
        tried,
        by_rate: (test_cases.iter())
            .filter(|test_case| test_case.mode == Mode::Rate)
            .count(),
        traces: test_cases.len(),
        changes: changes(&document, &found.document),
        halves: halves(&test_cases, &before, &after),
    };
    let mut out = std::io::stdout().lock();
    match args.json {
        true => {
            serde_json::to_writer_pretty(&mut out, &outcome)?;
            writeln!(out)?;
        }
        false => outcome.print(&mut out)?,
    }
    let what = || format!("cannot write {}", args.out.display());
    std::fs::write(&args.out, found.document.to_string()).with_context(what)
}

/// What the search came to.
#[derive(Serialize)]
struct Outcome {
    /// Policies.
    tried: usize,
    /// Traces on which the search used the rate mode.
    by_rate: usize,
    traces: usize,
    changes: Vec<Change>,
    halves: Vec<Half>,
}

/// A number that is another one now.
#[derive(Serialize)]
struct Change {
    key: String,
    from: String,
    to: String,
}

/// Before and after, on one half of one trace.
#[derive(Serialize)]
struct Half {
    trace: String,
    half: &'static str,
    before: Figures,
    after: Figures,
    /// What no policy can go below.
    bound_hours: f64,
}

#[derive(Serialize)]
struct Figures {
    /// Share of requests that were answered within the SLO.
    attainment: f64,
    instance_hours: f64,
}

fn changes(old: &DocumentMut, new: &DocumentMut) -> Vec<Change> {
    let knobs = knobs::of(old).into_iter();
    let changes = knobs.map(|knob| Change {
        key: knob.to_string(),
        from: knob.text(old),
        to: knob.text(new),
    });
    changes.filter(|change| change.from != change.to).collect()
}

fn halves(test_cases: &[TestCase], before: &Policy, after: &Policy) -> Vec<Half> {
    let mut halves = Vec::new();
    for test_case in test_cases {
        for (which, half) in [("first", &test_case.first), ("second", &test_case.second)] {
            let judge = |policy| {
                let Judged {
                    attainment, hours, ..
                } = test_case.judge(half, policy, Mode::Exact);
                Figures {
                    attainment,
                    instance_hours: hours,
                }
            };
            halves.push(Half {
                trace: test_case.name.clone(),
                half: which,
                before: judge(before),
                after: judge(after),
                bound_hours: half.bound_hours,
            });
        }
    }
    halves
}

impl Outcome {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Outcome {
            tried,
            by_rate,
            traces,
            ..
        } = self;
        writeln!(
            out,
            "{tried} policies were tried on the first halves, on {by_rate} of {traces} by the rate mode."
        )?;
        for Change { key, from, to } in &self.changes {
            writeln!(out, "{key}: {from} -> {to}")?;
        }
        if self.changes.is_empty() {
            writeln!(
                out,
                "No other number did better; the policy stays as it is."
            )?;
        }
        for half in &self.halves {
            let Half {
                trace,
                half,
                before,
                after,
                bound_hours,
            } = half;
            writeln!(
                out,
                "{trace}, {half} half: {before} -> {after} (minimum {bound_hours:.2} h)"
            )?;
        }
        writeln!(
            out,
            "The search has not seen the second halves; they are what counts."
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (share, hours) = (self.attainment * 100.0, self.instance_hours);
        write!(out, "{share:.2} % in time, {hours:.2} h")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outcome_says_the_same_to_people_and_to_programs() {
        let figures = |attainment| Figures {
            attainment,
            instance_hours: 2.5,
        };
        let outcome = Outcome {
            tried: 40,
            by_rate: 1,
            traces: 1,
            changes: vec![Change {
                key: "signal[0].window".to_owned(),
                from: "\"10s\"".to_owned(),
                to: "\"20s\"".to_owned(),
            }],
            halves: vec![Half {
                trace: "step at 1m".to_owned(),
                half: "second",
                before: figures(0.5),
                after: figures(0.99),
                bound_hours: 2.0,
            }],
        };
        let mut text = Vec::new();
        outcome.print(&mut text).expect("it is written");
        let text = String::from_utf8(text).expect("text");
        let half = "step at 1m, second half: 50.00 % in time, 2.50 h -> 99.00 % in time, 2.50 h \
                    (minimum 2.00 h)";
        assert!(text.contains(half), "{text}");
        assert!(text.contains("signal[0].window: \"10s\" -> \"20s\""));
        let json = json!(outcome);
        assert_eq!(json["changes"][0]["key"], "signal[0].window");
        assert_eq!(json["halves"][0]["after"]["attainment"], 0.99);
        assert_eq!(json["halves"][0]["bound_hours"], 2.0);
    }
}
