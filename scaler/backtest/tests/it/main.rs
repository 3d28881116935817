//! The backtest through its public API and its binary: the simulator, the bound, traces, and the
//! commands' tables, gates and refusals.

mod backtest;
mod bound;
mod faults;
mod foresight;
mod odd_traces;
mod other_policies;
mod rate;
mod simulator;
mod traces;
