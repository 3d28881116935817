//! What a tick decided, and why, as data; [`text`] makes it one line for people.

mod text;

use serde::{Deserialize, Serialize};
use tidegate_config::Duration;

use crate::{Override, Quantity, Statistic, Target, Time};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What was needed this tick, before windows, limits and guards.
    pub need: u32,
    pub action: Action,
    pub reason: Reason,
    /// What an hour of the fleet costs as it is, where the policy names a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_hour: Option<f64>,
}

/// What is to be done, each list in the order in which to do it. Never both grows and drains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Action {
    /// Workers to launch.
    #[serde(skip_serializing_if = "is_zero")]
    pub launch: u32,
    /// Workers whose drain is taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undrain: Vec<String>,
    /// Workers to drain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drain: Vec<String>,
    /// Workers that have drained: they hold nothing and can be stopped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Workers that failed and are stopped without a drain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<Replacement>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    pub id: String,
    pub why: WhyReplaced,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyReplaced {
    /// Launched, and not ready within its lead time.
    Overdue { lead_time: Duration },
    /// Was ready, and no proxy has heard of it since.
    Silent { for_ms: u64 },
    /// Drains though nobody here ordered it, and does not finish.
    Stuck { drain_limit: Duration },
}

/// From how many to how many, who asked for it, and what held it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub from: u32,
    pub to: u32,
    /// What every term asked for, in the policy's order.
    pub asks: Vec<Ask>,
    /// Index into `asks` of the largest ask; `None` when nobody knew anything.
    pub winner: Option<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
}

impl Reason {
    /// The largest ask.
    fn asked_most(&self) -> Option<&Ask> {
        self.winner.and_then(|winner| self.asks.get(winner))
    }

    /// What the size is due to, in a word: the largest ask's term, unless an operator's order or
    /// the minimum goes before it, or there is nothing to do.
    pub fn due_to(&self) -> &str {
        let is = |of: fn(&Guard) -> bool| self.guards.iter().any(of);
        if is(|guard| matches!(guard, Guard::Override { .. })) {
            return "by hand";
        }
        if is(|guard| matches!(guard, Guard::Min { .. })) {
            return "fleet.min";
        }
        match self.asked_most() {
            Some(ask) if ask.workers == Some(0) => "idle",
            Some(ask) => &ask.term,
            None => "nothing known",
        }
    }
}

/// What one term asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The signal's name, or `demand`.
    pub term: String,
    /// `None`: it cannot say, and holds.
    pub workers: Option<u32>,
    pub basis: Basis,
}

/// What an ask rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    Measured {
        statistic: Statistic,
        value: Quantity,
        window: Duration,
        target: Target,
    },
    /// Nothing happened that could be measured.
    Idle,
    /// Its value is not known.
    Missing,
    /// Its value is not known, and the policy says what to ask for then.
    Fallback,
    /// Anything at all waits, runs or has just come.
    Demand { requests: u64 },
    /// The demand a lead time from now, as far as the past tells.
    Forecast {
        /// Requests a second now.
        per_s: f64,
        service_s: f64,
        /// Requests that a worker is to be at.
        concurrency: f64,
        /// Slots that are asked for over those that are busy, as a factor.
        growth: f64,
        /// Share of requests that staffing lets miss the promise because they wait.
        #[serde(default)]
        aim: f64,
        /// Share that would, as far as the past tells: with so many workers, and with one fewer.
        #[serde(default)]
        missed: f64,
        #[serde(default)]
        missed_with_fewer: f64,
        lead_ms: u64,
    },
    /// As the forecast, and what waits is to be worked off.
    Drain { waiting: u64, within_ms: u64 },
    /// A schedule is at work.
    Scheduled { for_ms: u64 },
    /// A schedule is to begin, and launches take their time.
    Upcoming { in_ms: u64 },
    /// The user's formula came to this.
    Formula { value: f64 },
    /// The user's formula came to nothing.
    Failed { why: String },
    /// The last seconds' arrivals are far beyond those before.
    Burst,
    /// A busy fleet is slower than what was promised.
    Slow {
        p95: Quantity,
        slo: Quantity,
        /// Share of the fleet's capacity that is busy.
        busy: f64,
    },
}

/// Why the fleet does not do at once what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The policy's lower bound.
    Min { min: u32 },
    /// The policy's upper bound.
    Max { max: u32 },
    /// The budget an hour pays for no more.
    Budget { workers: u32 },
    /// Somebody has taken the size into their own hands.
    Override { by_hand: Override },
    /// More, or less, was needed within the stabilisation window.
    Stabilization { window: Duration },
    /// The steps of the policy.
    Steps,
    /// Starts keep failing.
    LaunchesHeld { until: Time, for_ms: u64 },
    /// No proxy has said anything for too long.
    Blind,
    /// These proxies did not answer.
    Partial { missing: Vec<String> },
    /// The value of this signal is not known.
    Missing { signal: String },
    /// Most of the workers fell silent together: none is replaced or removed.
    MassSilence,
    /// This run has not watched for as long as it looks back before it removes a worker.
    Watching { for_ms: u64 },
    /// Some still boot: those that serve must be enough without them.
    Booting,
    /// So many of those that boot will probably not be ready in time, so that others are launched.
    Unlikely { workers: u32 },
    /// A worker did not finish within the drain limit and was taken back.
    DrainGaveUp { id: String },
    /// Drains failed a short while ago.
    DrainsHeld { for_ms: u64 },
    /// The fleet itself wants no worker removed now.
    FleetHolds { why: String },
}

impl Action {
    /// Nothing is to be done.
    pub fn is_none(&self) -> bool {
        *self == Action::default()
    }
}

impl Guard {
    /// Whether the size is due to it, and not to what was asked for.
    fn goes_first(&self) -> bool {
        matches!(self, Guard::Override { .. } | Guard::Min { .. })
    }
}
