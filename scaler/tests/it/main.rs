//! The scaler through its public API and its binary, with proxies and workers that are not real.

mod daemon;
mod ledger;
mod mistakes;
mod orders;
mod process;
mod stage;
mod stand;
mod ticks;
mod up;
