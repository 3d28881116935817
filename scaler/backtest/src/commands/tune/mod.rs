//! `tune`: searches a policy's few numbers on the first half of the traces and judges what it
//! found on the second.
//!
//! The search may use the rate mode where that agrees with requests one by one; what is reported and
//! written is judged one by one.

mod knobs;
mod search;
mod test_case;

use std::io::Write;

use crate::case::Mode;
use anyhow::Context;
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

    let mut out = std::io::stdout().lock();
    let rated = test_cases
        .iter()
        .filter(|test_case| test_case.mode == Mode::Rate)
        .count();
    let all = test_cases.len();
    writeln!(
        out,
        "{tried} policies were tried on the first halves, on {rated} of {all} by the rate mode."
    )?;
    changes(&mut out, &document, &found.document)?;
    tell(&mut out, &test_cases, &before, &after)?;
    let what = || format!("cannot write {}", args.out.display());
    std::fs::write(&args.out, found.document.to_string()).with_context(what)
}

/// Every number that is another one now.
fn changes(out: &mut impl Write, old: &DocumentMut, new: &DocumentMut) -> std::io::Result<()> {
    let mut changed = 0;
    for knob in knobs::of(old) {
        let (old, new) = (knob.text(old), knob.text(new));
        if old != new {
            writeln!(out, "{knob}: {old} -> {new}")?;
            changed += 1;
        }
    }
    match changed {
        0 => writeln!(
            out,
            "No other number did better; the policy stays as it is."
        ),
        _ => Ok(()),
    }
}

/// Before and after, on both halves of every test case.
fn tell(
    out: &mut impl Write,
    test_cases: &[TestCase],
    before: &Policy,
    after: &Policy,
) -> std::io::Result<()> {
    let figures = |judged: Judged| {
        let (share, hours) = (judged.attainment * 100.0, judged.hours);
        format!("{share:.2} % in time, {hours:.2} h")
    };
    for test_case in test_cases {
        for (which, half) in [("first", &test_case.first), ("second", &test_case.second)] {
            let judge = |policy| test_case.judge(half, policy, Mode::Exact);
            writeln!(
                out,
                "{}, {which} half: {} -> {} (minimum {:.2} h)",
                test_case.name,
                figures(judge(before)),
                figures(judge(after)),
                half.bound_hours
            )?;
        }
    }
    writeln!(
        out,
        "The search has not seen the second halves; they are what counts."
    )
}
