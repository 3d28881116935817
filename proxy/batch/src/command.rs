//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tidegate_config::ConfigError;

use crate::config::{Config, ProxyRules};

/// Answers files of requests through the proxy, in its class for batches.
#[derive(Debug, Parser)]
#[command(name = "tidegate-batch", version)]
pub struct Command {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Serve files and batches as OpenAI's clients ask for them.
    Serve(ServeArgs),
    /// Answer one file of requests into another; goes on where it was interrupted.
    Run(RunArgs),
    /// Exit with 0 when the service of this machine serves.
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
    /// Instead of `listen` in the config.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Instead of `store` in the config.
    #[arg(long, value_name = "DIRECTORY")]
    store: Option<PathBuf>,
    /// Instead of `proxy.url` in the config.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// End as by SIGTERM when standard input closes.
    #[arg(long)]
    pub watch_stdin: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Requests, one a line: {"custom_id": …, "method": "POST", "url": …, "body": …}.
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Answers, one a line, in the order of the requests. Not there until it is whole.
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// Where the proxy serves.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    proxy: String,
    /// File of mode 0600 with a key, where the proxy wants one.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Most lines asked at once.
    #[arg(long, value_name = "N", default_value_t = 256)]
    concurrency: usize,
    /// Answer again, over what is at OUT.
    #[arg(long)]
    pub overwrite: bool,
}

impl ServeArgs {
    /// The file, with what the command line says instead.
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
