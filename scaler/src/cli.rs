//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tidegate_config::Duration as Span;
use tidegate_process::LogOptions;

use tidegate_policy::DEFAULT_LISTEN;

/// Sizes a fleet of workers to the traffic that the proxies measure.
#[derive(Debug, Parser)]
#[command(name = "tidegate-scaler")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogOptions,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(
        after_help = "Examples:\n  tidegate-scaler up --config configs/up.toml --config configs/up-chat.toml"
    )]
    /// Serve models on this machine: a proxy, and as many workers as the traffic needs.
    Up {
        /// A policy file with an [up] table. Several may be given, each for a model of its own
        /// behind the same proxy: their [up] tables must be the same.
        #[arg(long, value_name = "FILE", default_value = "configs/up.toml")]
        config: Vec<PathBuf>,
    },
    #[command(
        after_help = "Examples:\n  tidegate-scaler run --policy configs/policy.toml --dry-run\n  \
                            tidegate-scaler run --policy embeddings.toml --policy chat.toml"
    )]
    /// Scale a fleet by a policy. SIGHUP reads the policy again.
    Run {
        /// A policy file such as configs/policy.toml. Several may be given, each for a fleet of
        /// its own.
        #[arg(long, value_name = "FILE", required = true)]
        policy: Vec<PathBuf>,
        /// Print what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler check configs/policy.toml")]
    /// Check whether a policy file is valid, and whether one scaler can run several.
    Check {
        #[arg(value_name = "FILE", required = true)]
        file: Vec<PathBuf>,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler pause --for 30m --why migration")]
    /// Keep the running scaler's fleet as it is for a while.
    Pause {
        #[command(flatten)]
        at: Target,
        /// Such as 30m, 2h or 3d; at most 7d.
        #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
        span: Span,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler resume")]
    /// Let the policy decide the size again.
    Resume {
        #[command(flatten)]
        at: Target,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler hold 12 --for 2h --why launch")]
    /// Keep the running scaler's fleet at a number of workers for a while.
    Hold {
        #[arg(value_name = "WORKERS")]
        workers: u32,
        #[command(flatten)]
        at: Target,
        /// Such as 30m, 2h or 3d; at most 7d.
        #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
        span: Span,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler drain w-3 --why kernel-update")]
    /// Let a worker finish what it has and leave; another takes its place.
    Drain {
        #[arg(value_name = "WORKER_ID")]
        worker: String,
        #[command(flatten)]
        at: Target,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler undrain w-3")]
    /// Take back the drain of a worker that has not left yet.
    Undrain {
        #[arg(value_name = "WORKER_ID")]
        worker: String,
        #[command(flatten)]
        at: Target,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler status --json")]
    /// Print the state of the running scaler's fleets: workers, how many each signal asks for, and
    /// which proxies and sources do not answer.
    Status {
        /// The scaler's own port (scaler.listen).
        #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
        listen: SocketAddr,
        /// Print one JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler top --fleet embeddings")]
    /// Show the status page in the terminal: fleet, workers, queue, batches, decisions. Prints it once
    /// where standard output is not a terminal.
    Top {
        /// The scaler's own port (scaler.listen).
        #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
        listen: SocketAddr,
        /// Which of several fleets: the name of its policy file, without its extension.
        #[arg(long, value_name = "NAME")]
        fleet: Option<String>,
    },
    #[command(after_help = "Examples:\n  tidegate-scaler explain /var/lib/tidegate/ledger.jsonl")]
    /// Print from a ledger what happened to the fleet, which signals caused it, and the cost.
    Explain {
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
        /// Print a JSON array of what happened instead of text.
        #[arg(long)]
        json: bool,
    },
    #[command(
        after_help = "Examples:\n  tidegate-scaler cost /var/lib/tidegate/ledger.jsonl --sagemaker 0.23"
    )]
    /// Print from a ledger what the fleet cost, by day and for a million requests.
    Cost(CostArgs),
    /// Simulate a policy under recorded demand, with --rivals beside other autoscalers. Run by
    /// tidegate-backtest, as are tune and replay.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  tidegate-scaler backtest --policy configs/policy.toml --scenario configs/scenario.toml --trace step"
    )]
    Backtest(Passed),
    /// Tune a policy's numbers on the first half of traces, and judge them on the second.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  tidegate-scaler tune --policy configs/policy.toml --scenario configs/scenario.toml --trace tests/traces --out tuned.toml"
    )]
    Tune(Passed),
    /// Run another policy on a recorded ledger.
    #[command(
        disable_help_flag = true,
        after_help = "Examples:\n  tidegate-scaler replay --policy new.toml /var/lib/tidegate/ledger.jsonl"
    )]
    Replay(Passed),
    #[command(after_help = "Examples:\n  tidegate-scaler probe")]
    /// Exit 0 when the scaler at an address runs, 1 when it does not.
    Probe {
        /// The scaler's own port (scaler.listen).
        #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
        listen: SocketAddr,
    },
}

/// Arguments for another program.
#[derive(Clone, Debug, Args)]
pub struct Passed {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub arguments: Vec<OsString>,
}

/// A ledger, and prices that it does not have.
#[derive(Clone, Debug, Args)]
pub struct CostArgs {
    #[arg(value_name = "LEDGER")]
    pub ledger: PathBuf,
    /// Price of a worker's instance-hour, for ticks without a price (cost.price_per_hour).
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub price: Option<f64>,
    /// Price of an hour of everything but the workers: proxies, scalers, a load balancer.
    #[arg(long, value_name = "PRICE", value_parser = price, default_value_t = 0.0)]
    pub beside: f64,
    /// Price of an instance-hour of a SageMaker real-time endpoint of the same size, to compare with.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub sagemaker: Option<f64>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("expected an amount of 0 or more, such as 0.17".to_owned()),
    }
}

/// Which scaler gets the order, and by whose authority.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The scaler's own port (scaler.listen).
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Which of several fleets: the name of its policy file, without its extension.
    #[arg(long, value_name = "NAME")]
    pub fleet: Option<String>,
    /// The reason, in a few words: the ledger keeps it, with the user's name.
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// File with the operator token (proxies.token_file).
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/tidegate/operator.token"
    )]
    pub token_file: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::Cli;

    #[test]
    fn the_examples_of_the_help_are_valid() {
        assert_eq!(tidegate_process::check_examples::<Cli>(), Ok(()));
    }
}
