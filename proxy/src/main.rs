//! tidegate-proxy: accepts every request, holds it in one queue per model, and sends it to the next
//! free worker slot.
//!
//! Shutdown: on SIGTERM it takes no new connections, answers everything that it has accepted,
//! in queue or in flight, for at most `drain_limit`, and exits as soon as nothing is left.
//! The admin port stays open to the end, so that workers can still announce themselves.

mod access;
mod admin;
mod allowance;
mod answers;
mod backend;
mod buffer;
mod command;
mod config;
mod demand;
mod descriptors;
mod dispatch;
mod drain;
mod frontend;
mod metrics;
mod route;
mod serve;

use std::process::ExitCode;

use tidegate_config::{BAD_CONFIG, ConfigError, TokenError};

use crate::command::{Command, Verb};
use tidegate_keys::KeyError;
use tidegate_telemetry::TelemetryError;

/// Requests allocate small pieces on one thread and free them on another, which it is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pingora logs every broken client connection; by default its errors alone are of interest, and
/// not the one of its connectors: that a worker closed an idle connection as it was to be used.
const LOGGED: &str = "info,pingora_core=error,pingora_core::connectors=off";

fn main() -> ExitCode {
    let command: Command = match tidegate_process::parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    command.log.start(LOGGED);
    let result = match &command.verb {
        Some(Verb::Probe { admin }) => serve::probe(*admin),
        Some(Verb::Key { name }) => serve::make_key(name),
        None => serve::serve(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_file = error.is::<TokenError>() || error.is::<KeyError>();
            if error.is::<ConfigError>() || error.is::<TelemetryError>() || bad_file {
                command.log.failed("tidegate-proxy", &error.to_string());
                return ExitCode::from(BAD_CONFIG);
            }
            command.log.failed("tidegate-proxy", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
