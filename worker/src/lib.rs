//! The worker: quantizes, compares and measures models, loads one, answers requests with it, and
//! announces itself to the proxies.
//!
//! It knows nothing of queues, fleets or policies; it accepts as many requests as it has slots and
//! refuses the rest.

mod api;
pub mod bench;
pub mod cli;
pub mod compare;
pub mod config;
mod container;
mod engine;
mod measure;
mod memory;
mod metrics;
pub mod models;
pub mod probe;
pub mod quantize;
pub mod serve;
mod threads;
mod trace;
mod units;
