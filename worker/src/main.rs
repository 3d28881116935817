//! The worker's process: command line, log, runtime, exit code.
//!
//! Exit codes: 0; 1 failed; 2 no compared model meets what is asked for; 78 the command line or the configuration cannot be used.
//! The order of the shutdown is written at the top of `serve`.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;
use tidegate_config::{BAD_CONFIG, ConfigError};
use tidegate_telemetry::TelemetryError;
use tidegate_worker::cli::{Cli, Command, ServeArgs};
use tidegate_worker::config::{S3Config, WorkerConfig};
use tidegate_worker::models::Source;
use tidegate_worker::serve::{self, ServeError, StandardInput, Stop};
use tidegate_worker::{bench, compare, probe, quantize};

/// HTTP, heartbeats and signals; what computes has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// No model that was compared meets what was asked for.
const GATE_MISSED: u8 = 2;

fn main() -> ExitCode {
    let cli: Cli = match tidegate_process::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let log = cli.log;
    log.start("info");
    match run(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            log.failed("tidegate-worker", &format!("{failure:#}"));
            exit_code(&failure)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) if args.check => check(*args)?,
        Command::Serve(args) => on_runtime(run_serve(*args))?,
        Command::Probe(args) => on_runtime(async { Ok(probe::probe(args.address).await?) })?,
        Command::Quantize(mut args) => {
            bring([&mut args.model])?;
            show(&quantize::run(&args)?, args.json)?;
        }
        Command::Bench(mut args) => {
            bring([&mut args.model])?;
            show(&bench::run(&args)?, args.json)?;
        }
        Command::Compare(mut args) => {
            bring(args.models.iter_mut().chain([&mut args.reference]))?;
            let comparison = compare::run(&args)?;
            show(&comparison, args.json)?;
            if comparison.chosen.is_none() {
                return Ok(GATE_MISSED.into());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Downloads the models that are not on this machine, and puts their paths in place of their names.
fn bring<'a>(models: impl IntoIterator<Item = &'a mut PathBuf>) -> anyhow::Result<()> {
    for model in models {
        let source: Source = match model.to_str() {
            Some(name) => name.parse()?,
            None => continue,
        };
        if !matches!(source, Source::Path(_)) {
            let fetched = async { Ok(serve::fetch(&source, &S3Config::default()).await?) };
            *model = on_runtime(fetched)?;
        }
    }
    Ok(())
}

/// A result on standard output, for people or as one JSON object.
fn show(result: &(impl Display + Serialize), json: bool) -> anyhow::Result<()> {
    match json {
        true => println!("{}", serde_json::to_string(result)?),
        false => println!("{result}"),
    }
    Ok(())
}

fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .map_err(|error| anyhow!("the runtime cannot be started: {error}"))?;
    let result = runtime.block_on(work);
    // What is still read into tokens for a client that was cut off is not waited for.
    runtime.shutdown_background();
    result
}

fn configured(args: ServeArgs) -> Result<WorkerConfig, ConfigError> {
    let config = match &args.config {
        Some(file) => tidegate_config::load(file)?,
        None => WorkerConfig::default(),
    };
    Ok(args.over(config))
}

fn check(args: ServeArgs) -> anyhow::Result<()> {
    let file = args.config.clone();
    let checked = serve::check(&configured(args)?)?;
    if let Some(file) = file {
        println!("{} is valid", file.display());
    }
    println!("{checked}");
    Ok(())
}

async fn run_serve(args: ServeArgs) -> anyhow::Result<()> {
    let _telemetry = tidegate_telemetry::start("tidegate-worker")?;
    let input = match args.watch_stdin {
        true => StandardInput::Watched,
        false => StandardInput::Ignored,
    };
    let stop = Stop::new(input).map_err(|error| anyhow!("signals cannot be watched: {error}"))?;
    Ok(serve::run(configured(args)?, stop).await?)
}

fn exit_code(failure: &anyhow::Error) -> ExitCode {
    let bad_config = failure.is::<ConfigError>()
        || failure.is::<TelemetryError>()
        || failure
            .downcast_ref::<ServeError>()
            .is_some_and(ServeError::is_bad_config);
    if bad_config {
        BAD_CONFIG.into()
    } else {
        ExitCode::FAILURE
    }
}
