//! tidegate-scaler's process: command line, log, runtime, exit code.
//!
//! Exit codes: 0; 1 failed; 2 a gate was missed; 78 the command line or the configuration cannot be used.
//! The order of the shutdown is written at the top of `run` and of `up`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tidegate_config::{BAD_CONFIG, ConfigError, Duration as Span, TokenError};
use tidegate_control::Size;
use tidegate_protocol::Order;
use tidegate_scaler::cli::{Cli, Command, CostArgs};
use tidegate_scaler::explain::{Form, Prices};
use tidegate_scaler::run::{Mode, Unusable};
use tidegate_scaler::{aws, backtest, check, explain, overrides, probe, run, standing, top, up};
use tidegate_telemetry::TelemetryError;

fn main() -> ExitCode {
    let cli: Cli = match tidegate_process::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let log = cli.log;
    log.start(logged(&cli.command));
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log.failed("tidegate-scaler", &format!("{failure:#}"));
            exit_code(&failure)
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let _telemetry = match command {
        Command::Up { .. } | Command::Run { .. } => {
            Some(tidegate_telemetry::start("tidegate-scaler")?)
        }
        _ => None,
    };
    runtime.block_on(async {
        match command {
            Command::Up { config } => up::up(&config).await,
            Command::Run { policy, dry_run } => {
                let mode = match dry_run {
                    true => Mode::DryRun,
                    false => Mode::Act,
                };
                run::run(&policy, mode).await
            }
            Command::Check { file } => check_files(&file),
            Command::Pause { at, span } => overrides::send(&at, Some(Size::AsItIs), span).await,
            Command::Resume { at } => overrides::send(&at, None, Span::default()).await,
            Command::Hold { workers, at, span } => {
                overrides::send(&at, Some(Size::Workers(workers)), span).await
            }
            Command::Drain { worker, at } => overrides::send_about(&at, worker, Order::Drain).await,
            Command::Undrain { worker, at } => {
                overrides::send_about(&at, worker, Order::Undrain).await
            }
            Command::Status { listen, json } => standing::status(listen, form(json)).await,
            Command::Top { listen, fleet } => top::top(listen, fleet).await,
            Command::Explain { ledger, json } => {
                explain::explain(&ledger, form(json), &mut std::io::stdout().lock())
            }
            Command::Cost(args) => cost(&args),
            Command::Probe { listen } => probe::probe(listen).await,
            Command::Backtest(args) => backtest::run("backtest", &args.arguments),
            Command::Tune(args) => backtest::run("tune", &args.arguments),
            Command::Replay(args) => backtest::run("replay", &args.arguments),
        }
    })
}

fn form(json: bool) -> Form {
    match json {
        true => Form::Json,
        false => Form::Table,
    }
}

fn cost(args: &CostArgs) -> anyhow::Result<()> {
    let prices = Prices {
        worker: args.price,
        beside: args.beside,
        sagemaker: args.sagemaker,
    };
    explain::cost(
        &args.ledger,
        prices,
        form(args.json),
        &mut std::io::stdout().lock(),
    )
}

/// A file alone may also be one for `up`.
fn check_files(files: &[PathBuf]) -> anyhow::Result<()> {
    let policies = match files {
        [file] => vec![tidegate_config::load(file)?],
        several => run::check(several)?,
    };
    for (file, policy) in files.iter().zip(policies) {
        check::tell(file, &policy, &mut std::io::stdout().lock())?;
    }
    Ok(())
}

fn exit_code(failure: &anyhow::Error) -> ExitCode {
    let bad_config = failure.is::<ConfigError>() || failure.is::<TokenError>();
    match bad_config || failure.is::<Unusable>() || failure.is::<TelemetryError>() {
        true => BAD_CONFIG.into(),
        false => ExitCode::FAILURE,
    }
}

/// What is logged by default. `up` says what there is to say on its own; its log is for those who
/// look for a fault.
fn logged(command: &Command) -> &'static str {
    match command {
        Command::Up { .. } => "off",
        _ => aws::LOGGED,
    }
}
