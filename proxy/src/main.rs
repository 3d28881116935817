//! tidegate-proxy: takes every request, holds it in one queue per model, and hands it to the
//! next free worker slot.
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

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tidegate_config::{BAD_CONFIG, ConfigError, TokenError};

use crate::command::{Command, Verb};
use tidegate_keys::KeyError;

/// Requests allocate small pieces on one thread and free them on another, which it is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(usage) => {
            // Help and version come this way as well, and are no mistake.
            let _ = usage.print();
            return match usage.use_stderr() {
                true => ExitCode::from(BAD_CONFIG),
                false => ExitCode::SUCCESS,
            };
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let result = match &command.verb {
        Some(Verb::Probe { admin }) => serve::probe(*admin),
        Some(Verb::Key { name }) => serve::make_key(name),
        None => serve::serve(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_file = error.is::<TokenError>() || error.is::<KeyError>();
            if error.is::<ConfigError>() || bad_file {
                eprintln!("tidegate-proxy: {error}");
                return ExitCode::from(BAD_CONFIG);
            }
            eprintln!("tidegate-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Pingora logs every broken client connection; by default its errors alone are of interest, and
/// not the one of its connectors: that a worker closed an idle connection as it was to be used.
fn filter() -> tracing_subscriber::EnvFilter {
    let default = || "info,pingora_core=error,pingora_core::connectors=off".into();
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default())
}
