//! The simulator: discrete events, requests one by one, through the very [`tidegate_queue::Queue`]
//! that the proxy runs.
//!
//! [`run_by_rate`] counts requests by windows of time instead, for searches: it is several times as
//! fast and not exact, so whoever uses it compares it with [`run`] first.
//!
//! [`run`] replays one demand under one autoscaler and says how it went. Everything that a policy
//! must not choose is in the [`Scenario`]; service times and boot times are drawn by index, so
//! that every policy meets the same ones.

mod autoscaler;
mod fleet;
mod meter;
mod orders;
mod outcome;
mod percentiles;
mod rate;
mod scenario;
mod simulation;
mod workload;

pub use autoscaler::{Autoscaler, Moves, Observed, Orders, Timing};
pub use fleet::{Member, Stage, WorkerId};
pub use meter::Sample;
pub use outcome::Outcome;
pub use percentiles::Percentiles;
pub use rate::{can_be_rated, run_by_rate};
pub use scenario::{Distribution, Outage, Scenario, ServiceTime};
pub use simulation::run;
pub use workload::{Request, Workload};
