//! tidegate-backtest's process: command line, exit code. `tidegate-scaler backtest`, `tune` and
//! `replay` run this binary.
//!
//! Exit codes: 0; 1 failed; 2 a gate was missed; 78 the command line or a file cannot be used.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_backtest::commands::{
    BacktestArgs, BadTrace, Missed, ReplayArgs, TuneArgs, backtest, replay, tune,
};
use tidegate_config::{BAD_CONFIG, ConfigError};

const BINARY: &str = "tidegate-backtest";

/// Exit code of a backtest whose policy missed a gate.
const GATE_MISSED: u8 = 2;

/// Simulates policies under recorded demand.
#[derive(Debug, Parser)]
#[command(name = "tidegate-backtest")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(
        after_help = "Examples:\n  tidegate-backtest backtest --policy configs/policy.toml --scenario configs/scenario.toml --trace step"
    )]
    /// Simulate a policy under recorded demand, beside other autoscalers if asked to.
    Backtest(BacktestArgs),
    #[command(
        after_help = "Examples:\n  tidegate-backtest tune --policy configs/policy.toml --scenario configs/scenario.toml --trace tests/traces/nab-elb_request_count.csv --out tuned.toml"
    )]
    /// Search a policy's numbers on the first half of traces, and judge them on the second.
    Tune(TuneArgs),
    #[command(after_help = "Examples:\n  tidegate-backtest replay --policy new.toml ledger.jsonl")]
    /// Put another policy in the place of the one that a ledger was recorded under.
    Replay(ReplayArgs),
}

fn main() -> ExitCode {
    let cli: Cli = match tidegate_process::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = match &cli.command {
        Command::Backtest(args) => backtest(args),
        Command::Tune(args) => tune(args),
        Command::Replay(args) => replay(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{}: {failure:#}", called());
            exit_code(&failure)
        }
    }
}

/// The name by which it was called: tidegate-scaler's where that has run it.
fn called() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_deref().and_then(|path| path.file_name());
    name.map_or_else(
        || BINARY.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn exit_code(failure: &anyhow::Error) -> ExitCode {
    if failure.is::<Missed>() {
        return GATE_MISSED.into();
    }
    let bad_words = failure.downcast_ref().is_some_and(BadTrace::is_usage);
    match bad_words || failure.is::<ConfigError>() {
        true => BAD_CONFIG.into(),
        false => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;

    #[test]
    fn the_examples_of_the_help_are_valid() {
        assert_eq!(tidegate_process::check_examples::<Cli>(), Ok(()));
    }
}
