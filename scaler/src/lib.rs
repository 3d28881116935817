//! Reads what the proxies measured, decides by the policy, and resizes the fleet.
//!
//! Decisions are made in tidegate-control, which is pure; this crate has the loop around it, the clock,
//! the files, the calls to the proxies and the fleets.

pub mod aws;
pub mod backtest;
pub mod by_fleet;
pub mod check;
pub mod child;
pub mod cli;
pub mod clock;
pub mod event;
pub mod explain;
pub mod fleet;
pub mod http;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod names;
pub mod orders;
pub mod overrides;
pub mod paths;
pub mod probe;
pub mod proxies;
pub mod publish;
pub mod run;
pub mod scaler;
pub mod server;
pub mod sources;
pub mod standing;
pub mod status;
pub mod top;
pub mod up;
