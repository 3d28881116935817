//! The command line: parsed once, turned into a [`WorkerConfig`], never looked at again.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchArgs;
use crate::compare::CompareArgs;
use crate::config::{self, ProxyUrl, WorkerConfig};
use crate::container;
use crate::models::Source;
use crate::quantize::QuantizeArgs;
use crate::units::Bytes;

/// Serves a model's answers over HTTP, and makes models small and measures what that costs.
#[derive(Debug, Parser)]
#[command(name = "tidegate-worker", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Load a model and answer requests.
    Serve(Box<ServeArgs>),
    /// Write a model as one file with int8 weights, about four times smaller.
    Quantize(QuantizeArgs),
    /// Judge models by a reference; exit 2 when none meets what is asked for.
    Compare(CompareArgs),
    /// Measure how fast a model is here and how much it holds.
    Bench(BenchArgs),
    /// Exit 0 when the worker at an address is ready, 1 when it is not.
    Probe(ProbeArgs),
}

/// What is given here wins over the config file. Images say by the environment where they listen
/// and where their model lies.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// A directory in Hugging Face's layout, a file written by `quantize`,
    /// hf://ORG/NAME@REVISION, or s3://BUCKET/KEY#sha256=HEX.
    #[arg(long, value_name = "PATH|hf://...|s3://...", env = "TIDEGATE_MODEL")]
    pub model: Option<Source>,
    /// The model id that clients name [default: the directory's or file's name].
    #[arg(long, value_name = "MODEL_ID")]
    pub name: Option<String>,
    /// A config file like configs/worker.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to take requests; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", env = "TIDEGATE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// This worker's name in the fleet [default: HOST-PORT].
    #[arg(long, value_name = "WORKER_ID")]
    pub id: Option<String>,
    /// A proxy's admin port, as http://HOST:PORT; may be given several times.
    #[arg(long = "proxy", value_name = "URL")]
    pub proxies: Vec<ProxyUrl>,
    /// The file that holds the token shared by workers and proxies.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Threads that compute [default: the processors this process may use].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Refuse at start what would hold more memory than this, and say what would fit.
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<Bytes>,
    /// Take the end of standard input as SIGTERM, so as not to outlive the parent.
    #[arg(long)]
    pub watch_stdin: bool,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The worker's address.
    #[arg(long, env = "TIDEGATE_LISTEN", default_value_t = config::DEFAULT_LISTEN)]
    pub address: SocketAddr,
}

impl ServeArgs {
    /// The config file's values, or the defaults, with what was given here on top.
    pub fn over(self, mut config: WorkerConfig) -> WorkerConfig {
        config.model = self.model.or(config.model).or_else(container::model);
        config.name = self.name.or(config.name);
        config.listen = container::listen(self.listen.unwrap_or(config.listen));
        config.id = self.id.or(config.id);
        config.token_file = self.token_file.or(config.token_file);
        config.threads = self.threads.unwrap_or(config.threads);
        config.memory_limit = self.memory_limit.or(config.memory_limit);
        if !self.proxies.is_empty() {
            config.proxies = self.proxies;
        }
        config
    }
}
