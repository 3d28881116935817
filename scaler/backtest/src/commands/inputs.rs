//! The files of a backtest, read and checked before anything runs.

use std::path::{Path, PathBuf};

use crate::interpolate::Replay;
use crate::sim::Scenario;
use crate::trace::{self, Demand, SpecError, TraceError};
use anyhow::Context;
use tidegate_config::Duration;
use tidegate_control::Policy;

use super::args::BacktestArgs;
use tidegate_policy::PolicyFile;

/// A demand by its name in the table.
pub struct Trace {
    pub name: String,
    pub demand: Demand,
}

pub struct Inputs {
    pub policy: Policy,
    pub scenario: Scenario,
    pub traces: Vec<Trace>,
    pub lead_times: Vec<Duration>,
    /// The files as they were read, for the report.
    pub policy_text: String,
    pub scenario_text: String,
}

/// A trace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadTrace {
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable {
        file: PathBuf,
        cause: std::io::Error,
    },
    #[error("{}: {cause}", file.display())]
    Text { file: PathBuf, cause: TraceError },
    #[error("--trace {words}: {cause}")]
    Spec { words: String, cause: SpecError },
    #[error("--trace {words}: there is no such file, and {cause}")]
    Neither { words: String, cause: SpecError },
    #[error(
        "{name}: has no requests within what the scenario replays (from {from}, stretch {stretch})"
    )]
    Empty {
        name: String,
        from: Duration,
        stretch: String,
    },
}

impl BadTrace {
    pub fn empty(name: &str, scenario: &Scenario) -> BadTrace {
        let stretch = scenario.stretch;
        BadTrace::Empty {
            name: name.to_owned(),
            from: scenario.from,
            stretch: stretch.map_or("to the end".to_owned(), |stretch| stretch.to_string()),
        }
    }

    /// Whether the mistake is on the command line itself.
    pub fn is_usage(&self) -> bool {
        matches!(self, BadTrace::Spec { .. } | BadTrace::Neither { .. })
    }
}

impl Inputs {
    pub fn read(args: &BacktestArgs) -> anyhow::Result<Inputs> {
        let mut scenario = scenario(&args.scenario)?;
        if args.quick {
            let quick = Duration::from_secs(QUICK_STRETCH_S);
            scenario.stretch = Some(scenario.stretch.map_or(quick, |stretch| stretch.min(quick)));
        }
        let lead_times = match (args.lead_time.is_empty(), args.quick) {
            (false, _) => args.lead_time.clone(),
            (true, true) => vec![Duration::from_secs(QUICK_LEAD_TIME_S)],
            (true, false) => scenario.lead_times.clone(),
        };
        Ok(Inputs {
            policy: policy(&args.policy)?,
            traces: traces(&args.trace, args.replay)?,
            lead_times,
            policy_text: text(&args.policy)?,
            scenario_text: text(&args.scenario)?,
            scenario,
        })
    }
}

const QUICK_STRETCH_S: u64 = 2 * 3600;

const QUICK_LEAD_TIME_S: u64 = 60;

pub fn policy(file: &Path) -> anyhow::Result<Policy> {
    let file: PolicyFile = tidegate_config::load(file)?;
    Ok(file.policy())
}

/// How a policy is called: its file's name without the extension.
pub fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

pub fn scenario(file: &Path) -> anyhow::Result<Scenario> {
    Ok(tidegate_config::load(file)?)
}

pub fn traces(words: &[String], replay: Replay) -> Result<Vec<Trace>, BadTrace> {
    words.iter().map(|words| trace(words, replay)).collect()
}

/// A shape is replayed as it was described, a file as it is asked for.
fn trace(words: &str, replay: Replay) -> Result<Trace, BadTrace> {
    let file = Path::new(words);
    if trace::is_spec(words) && !file.exists() {
        let demand = trace::made_up(words).map_err(|cause| BadTrace::Spec {
            words: words.to_owned(),
            cause,
        })?;
        let name = words.to_owned();
        return Ok(Trace { name, demand });
    }
    let bytes = std::fs::read(file).map_err(|cause| unread(words, cause))?;
    let demand = trace::parse_file(&bytes).map_err(|cause| BadTrace::Text {
        file: file.to_owned(),
        cause,
    })?;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        tell_of_gaps(words, &demand);
    }
    let name = file.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let demand = replay.apply(demand);
    Ok(Trace { name, demand })
}

/// A word that is no path may be meant as a shape.
fn unread(words: &str, cause: std::io::Error) -> BadTrace {
    let is_absent = cause.kind() == std::io::ErrorKind::NotFound;
    match is_absent && !words.contains(['.', '/']) {
        true => BadTrace::Neither {
            words: words.to_owned(),
            cause: trace::no_shape(words),
        },
        false => BadTrace::Unreadable {
            file: words.into(),
            cause,
        },
    }
}

/// What was there where rows are left out is a guess, and may be the wrong one.
fn tell_of_gaps(words: &str, demand: &Demand) {
    let bridged = Duration::from_secs(demand.bridged_s().round() as u64);
    if !bridged.is_zero() {
        eprintln!(
            "{words}: rows are left out for {bridged} in all, and the rates around them stand for \
             what came; if nothing did, say so by a first line such as \"# interval = 60s\""
        );
    }
}

fn text(file: &Path) -> anyhow::Result<String> {
    let what = || format!("cannot read {}", file.display());
    std::fs::read_to_string(file).with_context(what)
}
