//! The worker: loads a model, answers requests with it, and announces itself to the proxies.
//!
//! It knows nothing of lines, fleets or policies; it takes what it has slots for and refuses the rest.

mod causes;
pub mod cli;
pub mod config;
pub mod model;
pub mod probe;
pub mod serve;
pub mod threads;
