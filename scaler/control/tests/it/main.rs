//! The control crate through its public API: what a tick sees, and what the law decides.

mod closed_loop;
mod law;
mod reason;
mod roster;
mod rules;
mod signals;
mod silence;
mod stage;
mod window;
