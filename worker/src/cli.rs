//! The command line: parsed once, turned into a [`WorkerConfig`], and not used after that.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tidegate_process::LogOptions;

use crate::bench::BenchArgs;
use crate::compare::CompareArgs;
use crate::config::{self, ProxyUrl, WorkerConfig};
use crate::container;
use crate::models::Source;
use crate::quantize::QuantizeArgs;
use crate::units::Bytes;

/// Serves a model over HTTP, quantizes models, and measures what that costs.
#[derive(Debug, Parser)]
#[command(name = "tidegate-worker")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogOptions,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(
        after_help = "Examples:\n  tidegate-worker serve --model models/all-MiniLM-L6-v2.int8.safetensors\n  \
                            tidegate-worker serve --model models/SmolLM2-135M-Instruct.gguf --listen 127.0.0.1:8091\n  \
                            tidegate-worker serve --config configs/worker.toml --memory-limit 500MB\n  \
                            tidegate-worker serve --model models/all-MiniLM-L6-v2 --check"
    )]
    /// Load a model and answer requests.
    Serve(Box<ServeArgs>),
    #[command(
        after_help = "Examples:\n  tidegate-worker quantize --model models/all-MiniLM-L6-v2 --out small.safetensors"
    )]
    /// Write a model as one file with int8 weights, about four times smaller.
    Quantize(QuantizeArgs),
    #[command(
        after_help = "Examples:\n  tidegate-worker compare --reference models/all-MiniLM-L6-v2 --model small.safetensors --min-cosine 0.99\n  \
                            tidegate-worker compare --reference large --model small smaller --inputs texts.txt --json\n  \
                            tidegate-worker compare --reference llama.f16.gguf --model llama.q8_0.gguf llama.q4_0.gguf --max-kl-divergence 0.05"
    )]
    /// Compare models with a reference; exit 2 when none meets the options.
    Compare(CompareArgs),
    #[command(
        after_help = "Examples:\n  tidegate-worker bench --model models/all-MiniLM-L6-v2.int8.safetensors --lengths 16,128\n  \
                            tidegate-worker bench --model models/SmolLM2-135M-Instruct.gguf --sequences 8 --json"
    )]
    /// Measure the speed and memory of a model on this machine.
    Bench(BenchArgs),
    #[command(after_help = "Examples:\n  tidegate-worker probe --address 127.0.0.1:8090")]
    /// Exit 0 when the worker at an address is ready, 1 when it is not.
    Probe(ProbeArgs),
}

/// These options override the config file. Container images set the address and the model by
/// environment variables.
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
    /// Check the configuration and the model's files, and exit.
    #[arg(long)]
    pub check: bool,
    /// The address that serves requests; port 0 picks a free port.
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
    /// Refuse at start a model that needs more memory than this, and print what would fit.
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<Bytes>,
    /// Stop, as after SIGTERM, when standard input closes, so that the worker does not outlive its parent.
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
    /// The config file's values, or the defaults, with these options.
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

#[cfg(test)]
mod tests {
    use super::Cli;

    #[test]
    fn the_examples_of_the_help_are_valid() {
        assert_eq!(tidegate_process::check_examples::<Cli>(), Ok(()));
    }
}
