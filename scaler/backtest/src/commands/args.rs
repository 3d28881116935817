//! The options of `backtest`, `tune` and `replay`.

use std::path::PathBuf;

use clap::Args;
use tidegate_config::Duration;

use crate::interpolate::Replay;

#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// The policy to test, such as configs/policy.toml.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// The conditions that a policy must not choose, such as configs/scenario.toml.
    #[arg(long, value_name = "FILE")]
    pub scenario: PathBuf,
    /// Recorded demand (docs/backtest.md lists the forms), or a shape such as `step` or
    /// `ramp:from=10,to=60,for=1h`.
    #[arg(long, value_name = "TRACE", num_args = 1.., required = true)]
    pub trace: Vec<String>,
    /// How counts and rates are replayed.
    #[arg(long, value_enum, default_value_t)]
    pub replay: Replay,
    /// Time from launch to ready; overrides the scenario's lead_times.
    #[arg(long, value_name = "TIME")]
    pub lead_time: Vec<Duration>,
    /// Number of seeds for random arrivals, service times and faults.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Compare with eight known autoscalers, at their defaults and tuned on the first half of each trace.
    /// The policy itself is not tuned; all are then judged on the second half.
    #[arg(long)]
    pub rivals: bool,
    /// Replay two hours of each trace, at one lead time (60 s), with a third of the rivals' settings.
    #[arg(long)]
    pub quick: bool,
    /// Print a JSON array instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Write a page with the table and plots.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Exit with 2 when the policy answers a smaller share of any trace within the SLO.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub min_attainment: Option<f64>,
    /// Exit with 2 when the policy needs more instance-hours for any trace.
    #[arg(long, value_name = "HOURS", value_parser = hours)]
    pub max_instance_hours: Option<f64>,
}

#[derive(Debug, Args)]
pub struct TuneArgs {
    /// The policy to begin with. Numbers that it does not set keep their defaults.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub scenario: PathBuf,
    /// Traces as for backtest.
    #[arg(long, value_name = "TRACE", num_args = 1.., required = true)]
    pub trace: Vec<String>,
    /// How counts and rates are replayed.
    #[arg(long, value_enum, default_value_t)]
    pub replay: Replay,
    /// Time from launch to ready; overrides the scenario's lead_times.
    #[arg(long, value_name = "TIME")]
    pub lead_time: Vec<Duration>,
    /// The file for the tuned policy, with the comments of the original.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The ledger of a scaler (scaler.ledger in its policy).
    #[arg(value_name = "LEDGER")]
    pub ledger: PathBuf,
    /// The policy to run on it.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// The scenario of the simulation; estimated from the ledger and the policy by default.
    #[arg(long, value_name = "FILE", conflicts_with = "decisions")]
    pub scenario: Option<PathBuf>,
    /// Time from launch to ready.
    #[arg(long, value_name = "TIME", conflicts_with = "decisions")]
    pub lead_time: Option<Duration>,
    /// Print a JSON array with one row, as backtest does.
    #[arg(long, conflicts_with = "decisions")]
    pub json: bool,
    /// Do not simulate: compare the recorded decisions with those of the policy on the
    /// recorded signals and fleet.
    #[arg(long)]
    pub decisions: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok();
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 1, such as 0.99".to_owned())
}

fn hours(text: &str) -> Result<f64, String> {
    let hours = text.parse::<f64>().ok();
    let hours = hours.filter(|hours| hours.is_finite() && *hours >= 0.0);
    hours.ok_or_else(|| "expected hours, 0 or more".to_owned())
}
