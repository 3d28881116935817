//! The policy: what the fleet shall look like, as a person writes it in TOML.
//!
//! Each table is a type that can `check` itself; [`Policy`] is all of them, complete.

mod behaviour;
mod fleet;
mod signal;
mod value;

use std::fmt;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

pub use behaviour::{Behaviour, Select, Step};
pub use fleet::{Bounds, FleetKind, FleetRules};
pub use signal::{Metric, SignalRule, Source, Statistic, Target};
pub use value::{OnMissing, TargetValue};

pub(crate) use behaviour::{Growth, Pace};

/// Everything the law goes by.
#[derive(Clone, Debug)]
pub struct Policy {
    pub fleet: FleetRules,
    pub slo: Slo,
    /// What a proxy said counts for this long, unless it says something newer.
    pub stale_after: Duration,
    pub signals: Vec<SignalRule>,
    pub(crate) scale_out: Pace,
    pub(crate) scale_in: Pace,
}

impl Policy {
    pub fn new(
        fleet: FleetRules,
        slo: Slo,
        stale_after: Duration,
        signals: Vec<SignalRule>,
        scale_out: &Behaviour,
        scale_in: &Behaviour,
    ) -> Policy {
        Policy {
            fleet,
            slo,
            stale_after,
            signals,
            scale_out: scale_out.over(Pace::out_default()),
            scale_in: scale_in.over(Pace::in_default()),
        }
    }

    /// The longest span that the law looks back over before it removes a worker.
    pub(crate) fn down_window(&self) -> std::time::Duration {
        self.scale_in.longest_period()
    }
}

/// `[slo]`: what clients were promised.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// From arrival to the end of the answer. The target of latency signals that name none.
    pub latency: Duration,
}

pub(crate) fn check_at_least_a_second(key: &str, duration: Duration) -> Result<(), Problem> {
    match duration < Duration::from_secs(1) {
        true => Err(Problem::new(key, quoted(duration), "\"1s\" or more")),
        false => Ok(()),
    }
}

fn quoted(value: impl fmt::Display) -> String {
    format!("\"{value}\"")
}
