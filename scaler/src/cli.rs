//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tidegate_config::Duration as Span;

use tidegate_policy::DEFAULT_LISTEN;

/// Sizes a fleet of workers to the traffic that the proxies measure.
#[derive(Debug, Parser)]
#[command(name = "tidegate-scaler", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve models on this machine: a proxy, and as many workers as the traffic needs.
    Up {
        /// A policy file with an [up] table. Several may be given, each for a model of its own
        /// behind the same proxy: their [up] tables agree.
        #[arg(long, value_name = "FILE", default_value = "configs/up.toml")]
        config: Vec<PathBuf>,
    },
    /// Scale a fleet by a policy. SIGHUP reads the policy again.
    Run {
        /// A policy file such as configs/policy.toml. Several may be given, each for a fleet of
        /// its own.
        #[arg(long, value_name = "FILE", required = true)]
        policy: Vec<PathBuf>,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say whether a policy file is valid, and of several whether one scaler can run them all.
    Check {
        #[arg(value_name = "FILE", required = true)]
        file: Vec<PathBuf>,
    },
    /// Leave the running scaler's fleet as it is for a while.
    Pause {
        #[command(flatten)]
        at: Target,
        /// Such as 30m, 2h or 3d; at most 7d.
        #[arg(long = "for", value_name = "SPAN", default_value = "1h")]
        span: Span,
    },
    /// Let the law decide again.
    Resume {
        #[command(flatten)]
        at: Target,
    },
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
    /// Say how the running scaler's fleets stand: workers, what asks for how many, and what is
    /// silent.
    Status {
        /// Its own port (scaler.listen).
        #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
        listen: SocketAddr,
        /// One object instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Tell from a ledger what happened to the fleet, who asked for it, and what it cost.
    Explain {
        #[arg(value_name = "LEDGER")]
        ledger: PathBuf,
    },
    /// Tell from a ledger what the fleet cost, day by day and for a million requests.
    Cost(CostArgs),
    /// Simulate a policy under recorded demand, beside other autoscalers if asked to. Run by
    /// tidegate-backtest, as are tune and replay.
    #[command(disable_help_flag = true)]
    Backtest(Passed),
    /// Search a policy's numbers on the first half of traces, and judge them on the second.
    #[command(disable_help_flag = true)]
    Tune(Passed),
    /// Put another policy in the place of the one that a ledger was recorded under.
    #[command(disable_help_flag = true)]
    Replay(Passed),
    /// Exit 0 when the scaler at an address is at work, 1 when it is not.
    Probe {
        /// Its own port (scaler.listen).
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

/// A ledger, and the prices that it does not know.
#[derive(Clone, Debug, Args)]
pub struct CostArgs {
    #[arg(value_name = "LEDGER")]
    pub ledger: PathBuf,
    /// Of a worker's instance-hour, for ticks that were decided without one (cost.price_per_hour).
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub price: Option<f64>,
    /// Of an hour of all that stands beside the workers: proxies, scalers, a load balancer.
    #[arg(long, value_name = "PRICE", value_parser = price, default_value_t = 0.0)]
    pub beside: f64,
    /// Of an instance-hour of a SageMaker real-time endpoint of the same size, to compare with.
    #[arg(long, value_name = "PRICE", value_parser = price)]
    pub sagemaker: Option<f64>,
    /// One object instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("expected an amount of 0 or more, such as 0.17".to_owned()),
    }
}

/// Which scaler is told, and by whose authority.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The scaler's own port (scaler.listen).
    #[arg(long, value_name = "ADDRESS", default_value_t = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Which of several fleets: the name of its policy file, without its end.
    #[arg(long, value_name = "NAME")]
    pub fleet: Option<String>,
    /// What it is for, in a few words: the ledger keeps them, with the user's name.
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
