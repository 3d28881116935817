//! How many workers there shall be, and the simulator that shows what a policy would have done.
//!
//! Pure: no clock, file, socket, thread or environment; `now` is an argument, chance comes from a
//! seed, and nothing iterates over what has no order.

pub mod backtest;
pub mod bound;
pub mod chance;
pub mod rivals;
pub mod sim;
pub mod trace;
