//! The policy: what the fleet shall look like, as a person writes it in TOML.
//!
//! Each table is a type that can `check` itself; [`Policy`] is all of them, complete.

mod behaviour;
mod cost;
mod effect;
mod fleet;
mod forecast;
mod formula;
mod schedule;
mod signal;
mod steps;
mod value;

use std::fmt;

use serde::Deserialize;
use tidegate_config::{Duration, Problem};

pub use behaviour::{Behaviour, Select, Step};
pub use cost::CostRules;
pub use fleet::{Bounds, FleetKind, FleetRules};
pub use forecast::ForecastRules;
pub use formula::Formula;
pub use schedule::ScheduleRule;
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
    /// Staffing by forecast; without it the signals alone ask for workers.
    pub forecast: Option<ForecastRules>,
    pub schedules: Vec<ScheduleRule>,
    pub formula: Option<Formula>,
    pub cost: Option<CostRules>,
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
            forecast: None,
            schedules: Vec::new(),
            formula: None,
            cost: None,
            scale_out: scale_out.over(Pace::out_default()),
            scale_in: scale_in.over(Pace::in_default()),
        }
    }

    /// The pace up. A forecast knows what it asks for: it is held back by steps only where the
    /// policy names some.
    pub(crate) fn out(&self) -> Pace {
        let mut pace = self.scale_out.clone();
        if self.forecast.is_some() && !pace.are_limits_written {
            pace.limits.clear();
        }
        pace
    }

    /// The pace down. With a forecast, which knows what comes within a lead time, its window is
    /// short where the policy does not say.
    pub(crate) fn down(&self) -> Pace {
        let mut pace = self.scale_in.clone();
        if self.forecast.is_some() && !pace.is_window_written {
            pace.stabilization = forecast::HOLD;
        }
        pace
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
