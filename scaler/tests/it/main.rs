//! The scaler through its public API and its binary, with proxies and workers that are not real.

mod asg;
mod aws_group;
mod aws_sources;
mod backtest;
mod cloudwatch;
mod conformance;
mod container;
mod cost;
mod daemon;
mod fake_engine;
mod lease;
mod ledger;
mod mistakes;
mod odd_traces;
mod orders;
mod other_policies;
mod overrides;
mod process;
mod proxies;
mod several;
mod sources;
mod stage;
mod stand;
mod ticks;
mod two_scalers;
mod up;
