//! tidegate-batch: answers files of requests through the proxy, in its class for batches.
//!
//! Exit codes: 0; 1 failed; 2 `run` is through and lines of it failed; 78 the command line or the
//! configuration cannot be used. Shutdown of `serve`, on SIGTERM or Ctrl-C: it asks nothing more and takes no new
//! connections; lines that were asked are answered within `drain_limit`; the rest goes on with
//! the next start.

mod answer;
mod ask;
mod clock;
mod command;
mod config;
mod disk;
mod gate;
mod id;
mod input;
mod journal;
mod metrics;
mod pace;
mod run;
mod sagemaker;
mod serve;
mod shared;
mod store;
mod trace;
mod work;

use std::process::ExitCode;

use tidegate_config::{BAD_CONFIG, ConfigError};
use tidegate_keys::KeyError;
use tidegate_telemetry::TelemetryError;

use crate::command::{Command, RunArgs, Verb};
use crate::config::Unusable;
use crate::store::StoreError;

/// Some lines have no answer but an error.
const LINES_FAILED: u8 = 2;

fn main() -> ExitCode {
    let command: Command = match tidegate_process::parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    let log = command.log;
    log.start("info");
    match on_runtime(command) {
        Ok(code) => code,
        Err(error) => {
            log.failed("tidegate-batch", &format!("{error:#}"));
            exit_code(&error)
        }
    }
}

fn on_runtime(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(act(command));
    runtime.shutdown_background();
    result
}

async fn act(command: Command) -> anyhow::Result<ExitCode> {
    let _telemetry = match command.verb {
        Verb::Probe { .. } => None,
        _ => Some(tidegate_telemetry::start("tidegate-batch")?),
    };
    match command.verb {
        Verb::Serve(args) => serve::serve(&args).await?,
        Verb::Run(args) => return run_once(&args).await,
        Verb::Probe { listen } => serve::probe(listen).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_once(args: &RunArgs) -> anyhow::Result<ExitCode> {
    // On a thread of the runtime's own, which may block.
    let counts = run::run(args).await?;
    Ok(match counts.error {
        0 => ExitCode::SUCCESS,
        _ => LINES_FAILED.into(),
    })
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    let store = error.downcast_ref::<StoreError>();
    let is_bad_config = error.is::<ConfigError>()
        || error.is::<Unusable>()
        || error.is::<KeyError>()
        || error.is::<TelemetryError>();
    if is_bad_config || store.is_some_and(StoreError::is_bad_config) {
        return BAD_CONFIG.into();
    }
    ExitCode::FAILURE
}
