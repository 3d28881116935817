//! `tune`: searches a policy's few numbers on the first half of the traces and judges what it
//! found on the second.
//!
//! The search may use the rate mode where that agrees with requests one by one; what is told and
//! written is judged one by one.

mod ground;
mod knobs;
mod search;

use std::io::Write;

use crate::case::Mode;
use anyhow::Context;
use tidegate_control::Policy;
use toml_edit::DocumentMut;

use super::args::TuneArgs;
use ground::{Ground, Judged};
use search::{Candidate, Search};
use tidegate_policy::PolicyFile;

pub fn tune(args: &TuneArgs) -> anyhow::Result<()> {
    let policy: PolicyFile = tidegate_config::load(&args.policy)?;
    let before = policy.policy();
    let what = || format!("cannot read {}", args.policy.display());
    let text = std::fs::read_to_string(&args.policy).with_context(what)?;
    let document: DocumentMut = text.parse().with_context(what)?;
    let mut grounds = ground::read(args)?;
    (grounds.iter_mut()).for_each(|ground| ground.choose_mode(&before));

    let search = Search {
        file: &args.policy,
        grounds: &grounds,
    };
    let (mut found, tried) = search.best(Candidate {
        cost: ground::cost(&grounds, &before),
        document: document.clone(),
    });
    let mut after = search::parse(&found.document, &args.policy)?;
    if ground::exact_cost(&grounds, &after) > ground::exact_cost(&grounds, &before) {
        (found.document, after) = (document.clone(), before.clone());
    }

    let mut out = std::io::stdout().lock();
    let rated = grounds
        .iter()
        .filter(|ground| ground.mode == Mode::Rate)
        .count();
    let all = grounds.len();
    writeln!(
        out,
        "{tried} policies were tried on the first halves, on {rated} of {all} by the rate mode."
    )?;
    changes(&mut out, &document, &found.document)?;
    tell(&mut out, &grounds, &before, &after)?;
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

/// Before and after, on both halves of every ground.
fn tell(
    out: &mut impl Write,
    grounds: &[Ground],
    before: &Policy,
    after: &Policy,
) -> std::io::Result<()> {
    let figures = |judged: Judged| {
        let (share, hours) = (judged.attainment * 100.0, judged.hours);
        format!("{share:.2} % in time, {hours:.2} h")
    };
    for ground in grounds {
        for (which, half) in [("first", &ground.first), ("second", &ground.second)] {
            let judge = |policy| ground.judge(half, policy, Mode::Exact);
            writeln!(
                out,
                "{}, {which} half: {} -> {} (minimum {:.2} h)",
                ground.name,
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
