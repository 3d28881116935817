//! Reports from a ledger: `explain`, the story of the fleet, and `cost`, its bill.
//!
//! Reads the ledger and the rotated files, oldest first, line by line; skips torn lines and lines of a
//! later version. It changes nothing.

mod bill;
mod json;
mod story;
mod text;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use tidegate_control::Time;

use crate::ledger::{Line, VERSION, aside};

use bill::Bill;
pub use bill::Prices;
use serde_json::Value;
use story::{Story, Tell};
use text::Text;

/// Time between two ticks counts up to this: what lies between two runs is not known.
const LONGEST_TICK: Duration = Duration::from_secs(30);

/// Tells when the fleet changed and why, and what each term won and asked for.
///
/// # Errors
/// When the ledger cannot be read, or holds no tick.
pub fn explain(ledger: &Path, form: Form, out: &mut dyn Write) -> anyhow::Result<()> {
    match form {
        Form::Table => {
            let mut text = Text::new(out);
            tell(ledger, &mut |told| text.tell(told))
        }
        Form::Json => {
            let mut parts = Vec::new();
            tell(ledger, &mut |told| {
                parts.push(json::part(&told));
                Ok(())
            })?;
            Ok(writeln!(out, "{:#}", Value::from(parts))?)
        }
    }
}

fn tell(ledger: &Path, tell: Tell<'_>) -> anyhow::Result<()> {
    let mut story = Story::default();
    let lines = each_line(ledger, |line| story.take(&line, tell))?;
    story.end(tell)?;
    check_any(ledger, lines)
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    Json,
}

/// Tells what each day cost, and a million requests.
///
/// # Errors
/// When the ledger cannot be read, or holds no tick.
pub fn cost(ledger: &Path, prices: Prices, form: Form, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut bill = Bill::new(prices);
    let lines = each_line(ledger, |line| {
        bill.take(&line);
        Ok(())
    })?;
    check_any(ledger, lines)?;
    match form {
        Form::Table => bill.print(out)?,
        Form::Json => bill.print_json(out)?,
    }
    Ok(())
}

fn check_any(ledger: &Path, lines: u64) -> anyhow::Result<()> {
    let what = || format!("{}: it has no line of a ledger", ledger.display());
    (lines > 0).then_some(()).with_context(what)
}

/// Reads a ledger and the files that were put aside, oldest first. Returns how many lines there were.
///
/// # Errors
/// When one of them cannot be read, or `take` fails.
pub(crate) fn each_line(
    ledger: &Path,
    mut take: impl FnMut(Line) -> io::Result<()>,
) -> anyhow::Result<u64> {
    let kept = (1..).take_while(|number| aside(ledger, *number).exists());
    let mut files: Vec<_> = kept.map(|number| aside(ledger, number)).collect();
    files.reverse();
    files.push(ledger.to_owned());
    let mut lines = 0;
    for path in files {
        let name = || format!("{}: cannot be read", path.display());
        for text in BufReader::new(File::open(&path).with_context(name)?).split(b'\n') {
            let text = text.with_context(name)?;
            if let Ok(line) = serde_json::from_slice::<Line>(&text)
                && line.version <= VERSION
            {
                lines += 1;
                take(line)?;
            }
        }
    }
    Ok(lines)
}

fn utc(at: Time) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at.as_ms() as i64).unwrap_or_default()
}

/// `45s`, `12m30s`, `3h20m`.
fn span(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
