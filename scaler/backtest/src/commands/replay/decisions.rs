//! `replay --decisions`: what another policy would have decided at each recorded tick.
//!
//! Signals and fleet are those that the recorded decisions caused; the other policy's own decisions do
//! not change them.

use std::io::{self, Write};
use std::time::Duration;

use tidegate_control::{Action, Decision, Law, Policy};

use super::record::Record;

const SAID_FIRST: &str = "The policy is asked at every recorded tick, on the recorded signals and \
    the recorded fleet. These are what the recorded decisions brought about: this says what it \
    would have decided there, not what would have come of it (that is replay without --decisions).";

/// Tells every tick at which the policy would have done something else; of several alike in a row
/// the first.
pub fn compare(record: &Record, policy: Policy) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{SAID_FIRST}\n")?;
    let mut law = Law::new(policy);
    let (mut differ, mut printed) = (0, None);
    for (at, tick) in &record.ticks {
        let would = law.clone().decide(*at, &tick.observation, &tick.fleet);
        let recorded = &tick.decision;
        // What the policy needed is its own; what was done is what was recorded.
        let taken = Decision {
            action: recorded.action.clone(),
            ..would.clone()
        };
        law.recall(*at, &tick.observation, &tick.fleet, &taken);
        let change = (Change::of(&recorded.action), Change::of(&would.action));
        if change.0 == change.1 {
            printed = None;
            continue;
        }
        differ += 1;
        if printed != Some(change) {
            let since = Clock(at.since(record.begin()));
            writeln!(
                out,
                "{since} recorded: {recorded}\n{:9} would be: {would}",
                ""
            )?;
            printed = Some(change);
        }
    }
    let ticks = record.ticks.len();
    writeln!(out, "{differ} of {ticks} ticks differ in what is done.")
}

/// How an action changes the fleet's size. Which worker it is matters less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    launched: u32,
    taken_back: usize,
    drained: usize,
    replaced: usize,
}

impl Change {
    fn of(action: &Action) -> Change {
        Change {
            launched: action.launch,
            taken_back: action.undrain.len(),
            drained: action.drain.len(),
            replaced: action.replace.len(),
        }
    }
}

/// Time since the ledger began.
struct Clock(Duration);

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "+{hours:02}:{minutes:02}:{:02}", seconds % 60)
    }
}
