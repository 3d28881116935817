//! Texts made from texts, apart from the network that computes them and the wires they go over.
//!
//! [`Scheduler`] says which sources are encoded and which tokens of which targets are computed
//! together by a [`Network`], and a search chooses what comes next: the best token at each place, or
//! the best of several hypotheses. All of it is arithmetic: no clock, no thread, no file, no socket.
//! The same requests in the same order give the same texts, and a text does not depend on what else
//! is computed beside it.

mod pool;
mod schedule;
mod search;

pub use schedule::{
    Delta, Finish, Limits, Network, Scheduler, Source, Target, Task, TooLarge, Totals, Words,
};
pub use search::{Patience, Search};
