//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tidegate_config::ConfigError;
use tidegate_process::LogOptions;

use crate::config::{Config, ProxyRules};

/// Sends files of requests to the proxy, in class batch, and writes files of answers.
#[derive(Debug, Parser)]
#[command(name = "tidegate-batch")]
pub struct Command {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub log: LogOptions,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(after_help = "Examples:\n  tidegate-batch serve --config configs/batch.toml")]
    /// Serve files and batches by OpenAI's API.
    Serve(ServeArgs),
    #[command(
        after_help = "Examples:\n  tidegate-batch run requests.jsonl answers.jsonl\n  \
                            tidegate-batch run requests.jsonl answers.jsonl --proxy https://serve.example.com --key-file key"
    )]
    /// Answer one file of requests into another; continues where it was interrupted.
    Run(RunArgs),
    #[command(after_help = "Examples:\n  tidegate-batch probe")]
    /// Exit with 0 when the service on this machine is ready.
    Probe {
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
        listen: SocketAddr,
    },
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The TOML file; configs/batch.toml is a complete one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the config and exit.
    #[arg(long)]
    pub check: bool,
    /// Overrides `listen` of the config.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Overrides `store` of the config.
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,
    /// Overrides `proxy.url` of the config.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Stop, as after SIGTERM, when standard input closes.
    #[arg(long)]
    pub watch_stdin: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Requests, one in each line: {"custom_id": …, "method": "POST", "url": …, "body": …}.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Answers, one in each line, in the order of the requests. Appears when it is complete.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// The proxy's address for clients.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    proxy: String,
    /// File of mode 0600 with a key, if the proxy requires one.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Most lines in flight at once.
    #[arg(long, value_name = "N", default_value_t = 256)]
    concurrency: usize,
    /// Start again and overwrite OUT.
    #[arg(long)]
    pub overwrite: bool,
}

impl ServeArgs {
    /// The file, with the overrides of the command line.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(file) => tidegate_config::load(file)?,
            None => Config::default(),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        if let Some(store) = &self.store {
            config.store.clone_from(store);
        }
        if let Some(proxy) = &self.proxy {
            config.proxy.url.clone_from(proxy);
        }
        Ok(config)
    }
}

impl RunArgs {
    pub fn rules(&self) -> ProxyRules {
        ProxyRules {
            url: self.proxy.clone(),
            key_file: self.key_file.clone(),
            concurrency: self.concurrency.max(1),
            ..ProxyRules::default()
        }
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
