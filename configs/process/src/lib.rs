//! What all binaries have in common: how they read a command line, how they log, and how they show
//! progress.

mod arguments;
mod log;
mod progress;

pub use arguments::{check_examples, parse, version};
pub use log::LogOptions;
pub use progress::Progress;
