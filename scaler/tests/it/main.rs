//! The scaler through its public API and its binary, with proxies and workers that are not real.

mod asg;
mod aws_group;
mod aws_region;
mod aws_sources;
mod cloudwatch;
mod conformance;
mod container;
mod cost;
mod daemon;
mod fake_engine;
mod harness;
mod learned;
mod lease;
mod ledger;
mod mistakes;
mod orders;
mod overrides;
mod process;
mod proxies;
mod several;
mod sources;
mod stage;
mod ticks;
mod two_scalers;
mod up;
