//! What all binaries have in common: how they read a command line, and how they log.

mod arguments;
mod log;

pub use arguments::{check_examples, parse, version};
pub use log::LogOptions;
