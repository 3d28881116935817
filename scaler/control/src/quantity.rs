//! Measured values with their unit, as people read them.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things that are there: requests in the queue, requests in flight.
    Count,
    Seconds,
    PerSecond,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantity {
    pub value: f64,
    pub unit: Unit,
}

impl Quantity {
    pub fn seconds(value: f64) -> Quantity {
        let unit = Unit::Seconds;
        Quantity { value, unit }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match self.unit {
            Unit::Count => write!(f, "{value:.1}"),
            Unit::PerSecond => write!(f, "{value:.1}/s"),
            Unit::Seconds if value < 1.0 => write!(f, "{:.0}ms", value * 1000.0),
            Unit::Seconds if value < 10.0 => write!(f, "{value:.2}s"),
            Unit::Seconds => write!(f, "{value:.0}s"),
        }
    }
}
