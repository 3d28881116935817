//! Orders of people to a running scaler: leave the fleet as it is, or keep a number of workers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Time;

/// An order by hand. It ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    pub size: Size,
    pub until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// As it is: nothing is launched or drained, not even in place of what fails.
    AsItIs,
    /// This many workers, whatever is asked for.
    Workers(u32),
}

impl Override {
    pub fn lasts(&self, now: Time) -> bool {
        now < self.until
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Size::AsItIs => f.write_str("paused by hand"),
            Size::Workers(workers) => write!(f, "held at {workers} by hand"),
        }
    }
}
