//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::DEFAULT_LISTEN;

/// Sizes a fleet of workers to the traffic that the proxies measure.
#[derive(Debug, Parser)]
#[command(name = "tidegate-scaler", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model on this machine: a proxy, and as many workers as the traffic needs.
    Up {
        /// A policy file with an [up] table.
        #[arg(long, value_name = "FILE", default_value = "configs/up.toml")]
        config: PathBuf,
    },
    /// Scale a fleet by a policy. SIGHUP reads the policy again.
    Run {
        /// A policy file such as configs/policy.toml.
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say whether a policy file is valid.
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Exit 0 when the scaler at an address is at work, 1 when it is not.
    Probe {
        /// Its own port (scaler.listen).
        #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
        listen: SocketAddr,
    },
}
