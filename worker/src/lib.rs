//! The worker: quantizes, compares and measures models, loads one, answers requests with it, and
//! announces itself to the proxies.
//!
//! It knows nothing of lines, fleets or policies; it takes what it has slots for and refuses the rest.

pub mod bench;
mod causes;
pub mod cli;
pub mod compare;
pub mod config;
mod measure;
pub mod memory;
pub mod model;
pub mod probe;
pub mod quantize;
pub mod serve;
pub mod threads;
pub mod units;
