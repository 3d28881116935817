//! The log on standard error.

use std::io::{IsTerminal, Write};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub struct LogOptions {
    /// Log lines for people, or one JSON object a line; RUST_LOG chooses what is logged.
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "TIDEGATE_LOG_FORMAT",
        default_value_t
    )]
    log_format: Format,
}

impl LogOptions {
    /// Starts the log of this process. `default` says what is logged where RUST_LOG does not.
    pub fn start(self, default: &str) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(colored());
        match self.log_format {
            Format::Text => log.with_target(false).init(),
            Format::Json => log.json().flatten_event(true).init(),
        }
    }

    /// Says on standard error why this process fails, as its last line.
    pub fn failed(self, process: &str, problem: &str) {
        match self.log_format {
            Format::Json if tracing::enabled!(tracing::Level::ERROR) => {
                tracing::error!(process, error = problem, "failed");
            }
            _ => {
                // Nobody may be there to read it.
                let _ = writeln!(std::io::stderr(), "{process}: {problem}");
            }
        }
    }
}

/// As https://no-color.org has it.
fn colored() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stderr().is_terminal()
}
