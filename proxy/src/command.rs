//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tidegate_config::ConfigError;

use crate::config::{BatchUrl, Config};

/// Takes every request, holds it in one queue per model, and hands it to the next free worker slot.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate-proxy",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Command {
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// The TOML file; configs/proxy.toml is a complete one.
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// Check the config and exit.
    #[arg(long)]
    pub check: bool,
    /// Instead of `listen` in the config.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Instead of `admin` in the config.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Instead of `tokens.worker` in the config.
    #[arg(long, value_name = "FILE")]
    worker_tokens: Option<PathBuf>,
    /// Instead of `tokens.operator` in the config.
    #[arg(long, value_name = "FILE")]
    operator_tokens: Option<PathBuf>,
    /// Instead of `models` in the config; may be given several times.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Instead of `batch.url` in the config.
    #[arg(long, value_name = "URL")]
    batch: Option<BatchUrl>,
    /// Stop, as after SIGTERM, when standard input closes.
    #[arg(long)]
    pub watch_stdin: bool,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Exit with 0 when a proxy serves on this machine.
    Probe {
        /// The admin port.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
    },
    /// Make a client's key, and the line for `clients.api_keys_file` that admits it.
    Key {
        /// Whose it is; stands in the line.
        #[arg(value_name = "NAME", default_value = "client")]
        name: String,
    },
}

impl Command {
    /// The file, with what the command line says instead.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let file = self.config.clone().unwrap_or_default();
        let mut config: Config = tidegate_config::load(&file)?;
        replace(&mut config.listen, &self.listen);
        replace(&mut config.admin, &self.admin);
        replace(&mut config.tokens.worker, &self.worker_tokens);
        replace(&mut config.tokens.operator, &self.operator_tokens);
        if self.batch.is_some() {
            config.batch.url.clone_from(&self.batch);
        }
        if !self.model.is_empty() {
            config.models.clone_from(&self.model);
        }
        Ok(config)
    }
}

fn replace<T: Clone>(value: &mut T, by: &Option<T>) {
    if let Some(by) = by {
        value.clone_from(by);
    }
}
