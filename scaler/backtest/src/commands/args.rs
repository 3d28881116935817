//! What `backtest`, `tune` and `replay` are told on their command lines.

use std::path::PathBuf;

use clap::Args;
use tidegate_config::Duration;

use crate::interpolate::Replay;

#[derive(Debug, Args)]
pub struct BacktestArgs {
    /// The policy to test, such as configs/policy.toml.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// What a policy must not choose, such as configs/scenario.toml.
    #[arg(long, value_name = "FILE")]
    pub scenario: PathBuf,
    /// Recorded demand (docs/backtest.md lists the forms), or a shape such as `step` or
    /// `ramp:from=10,to=60,for=1h`.
    #[arg(long, value_name = "TRACE", num_args = 1.., required = true)]
    pub trace: Vec<String>,
    /// How counts and rates are replayed.
    #[arg(long, value_enum, default_value_t)]
    pub replay: Replay,
    /// From launch to ready; instead of the scenario's lead_times.
    #[arg(long, value_name = "TIME")]
    pub lead_time: Vec<Duration>,
    /// How many seeds to draw arrivals, service times and faults by.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// Eight known autoscalers beside it, at their defaults and tuned on the first half of each trace.
    /// The policy itself is not tuned; all are then judged on the second half.
    #[arg(long)]
    pub rivals: bool,
    /// Two hours of each trace, one lead time (60 s), and a third of the rivals' settings.
    #[arg(long)]
    pub quick: bool,
    /// A JSON array instead of the table.
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
    /// The policy to begin with. Numbers that it leaves to their default are left alone.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    #[arg(long, value_name = "FILE")]
    pub scenario: PathBuf,
    /// As for backtest.
    #[arg(long, value_name = "TRACE", num_args = 1.., required = true)]
    pub trace: Vec<String>,
    /// How counts and rates are replayed.
    #[arg(long, value_enum, default_value_t)]
    pub replay: Replay,
    /// From launch to ready; instead of the scenario's lead_times.
    #[arg(long, value_name = "TIME")]
    pub lead_time: Vec<Duration>,
    /// Where the policy that was found is written to, comments and all.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A ledger, as the policy that it was recorded under names it (scaler.ledger).
    #[arg(value_name = "LEDGER")]
    pub ledger: PathBuf,
    /// The policy to put in its place.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// What the simulation goes by; estimated from the ledger and the policy when left out.
    #[arg(long, value_name = "FILE", conflicts_with = "decisions")]
    pub scenario: Option<PathBuf>,
    /// From launch to ready.
    #[arg(long, value_name = "TIME", conflicts_with = "decisions")]
    pub lead_time: Option<Duration>,
    /// A JSON array with one row, as backtest prints it.
    #[arg(long, conflicts_with = "decisions")]
    pub json: bool,
    /// Simulate nothing: compare what was decided with what the policy would have decided on the
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
