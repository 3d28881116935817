//! Policies under recorded demand, before they are deployed.
//!
//! [`sim`] replays a demand through the proxy's own queue and the daemon's own law, [`rivals`] are
//! the autoscalers that it is compared with, [`bound`] is a lower bound for every policy, [`trace`] is
//! the demand, and [`interpolate`] draws it between its counts. All of these are pure. [`commands`] has the files, the cores, the table and the
//! report. Nothing here reaches a proxy or a fleet.

pub mod bound;
pub mod case;
pub mod commands;
pub mod interpolate;
pub mod rivals;
pub mod sim;
pub mod trace;
