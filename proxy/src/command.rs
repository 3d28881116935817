//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tidegate_config::ConfigError;
use tidegate_process::LogOptions;

use crate::config::{BatchUrl, Config};

/// Accepts every request, holds it in one queue per model, and sends it to the next free worker slot.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate-proxy",
    after_help = "Examples:\n  tidegate-proxy --config configs/proxy.toml\n  \
                  tidegate-proxy --config configs/proxy.toml --check",
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
    /// Overrides `listen` of the config.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Overrides `admin` of the config.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Overrides `tokens.worker` of the config.
    #[arg(long, value_name = "FILE")]
    worker_tokens: Option<PathBuf>,
    /// Overrides `tokens.operator` of the config.
    #[arg(long, value_name = "FILE")]
    operator_tokens: Option<PathBuf>,
    /// Overrides `models` of the config; may be given several times.
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Overrides `batch.url` of the config.
    #[arg(long, value_name = "URL")]
    batch: Option<BatchUrl>,
    /// Stop, as after SIGTERM, when standard input closes.
    #[arg(long)]
    pub watch_stdin: bool,
    #[command(flatten)]
    pub log: LogOptions,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(after_help = "Examples:\n  tidegate-proxy probe --admin 127.0.0.1:9090")]
    /// Exit with 0 when the proxy on this machine is ready.
    Probe {
        /// The admin port.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
    },
    #[command(after_help = "Examples:\n  tidegate-proxy key shop")]
    /// Print a new client key, and the line for `clients.api_keys_file` that admits it.
    Key {
        /// The owner's name, which is in the line.
        #[arg(value_name = "NAME", default_value = "client")]
        name: String,
    },
}

impl Command {
    /// The file, with the overrides of the command line.
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

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn the_examples_of_the_help_are_valid() {
        assert_eq!(tidegate_process::check_examples::<Command>(), Ok(()));
    }
}
