//! A decision as one line for people.

use std::fmt;

use super::{Action, Ask, Basis, Decision, Guard, Reason, Replacement, WhyReplaced};
use crate::{Quantity, Target};

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        let Action {
            undrain,
            drain,
            remove,
            replace,
            ..
        } = &self.action;
        for (what, ids) in [("undrains", undrain), ("drains", drain), ("stops", remove)] {
            if !ids.is_empty() {
                write!(f, "; {what} {}", ids.join(", "))?;
            }
        }
        for Replacement { id, why } in replace {
            write!(f, "; replaces {id}, {why}")?;
        }
        Ok(())
    }
}

impl fmt::Display for WhyReplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyReplaced::Overdue { lead_time } => {
                write!(
                    f,
                    "which was not ready within {lead_time} (fleet.lead_time)"
                )
            }
            WhyReplaced::Stuck { drain_limit } => {
                write!(
                    f,
                    "which drains by itself and did not finish within {drain_limit} \
                     (fleet.drain_limit)"
                )
            }
            WhyReplaced::Silent { for_ms } => {
                write!(f, "without a heartbeat for {}s", for_ms / 1000)
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.to == 1 { "worker" } else { "workers" };
        match self.from == self.to {
            true => write!(f, "{} {noun}: ", self.to)?,
            false => write!(f, "{} -> {} {noun}: ", self.from, self.to)?,
        }
        // What decided comes first: an order or the minimum goes before what was asked for.
        let (first, later): (Vec<&Guard>, Vec<&Guard>) =
            self.guards.iter().partition(|guard| guard.goes_first());
        for guard in first {
            write!(f, "{guard}; ")?;
        }
        match self.asked_most() {
            Some(ask) => ask.fmt(f)?,
            None => f.write_str("no signal is known")?,
        }
        for guard in later {
            write!(f, "; {guard}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.workers {
            Some(workers) => write!(f, "{} asks for {workers}", self.term)?,
            None => write!(f, "{} holds", self.term)?,
        }
        match &self.basis {
            Basis::Measured {
                statistic,
                value,
                window,
                target,
            } => {
                write!(f, " ({statistic} {value} over {window}, ")?;
                match target {
                    Target::PerWorker(target) => write!(f, "{target} per worker)"),
                    Target::Value(target) => {
                        let (value, unit) = (*target, value.unit);
                        write!(f, "target {})", Quantity { value, unit })
                    }
                }
            }
            Basis::Idle => f.write_str(" (idle)"),
            Basis::Missing => f.write_str(" (its value is unknown)"),
            Basis::Fallback => f.write_str(" (its value is unknown; on_missing)"),
            Basis::Demand { requests: 1 } => f.write_str(" (1 request)"),
            Basis::Demand { requests } => write!(f, " ({requests} requests)"),
            Basis::Forecast {
                per_s,
                service_s,
                concurrency,
                growth,
                missed,
                missed_with_fewer,
                lead_ms,
                ..
            } => {
                write!(
                    f,
                    " ({per_s:.1}/s of {}, {:.0} % more for {}s from now, {concurrency:.0} at a worker",
                    Quantity::seconds(*service_s),
                    (growth - 1.0) * 100.0,
                    seconds(lead_ms),
                )?;
                // One fewer would not do: that is why it is not asked for.
                match missed_with_fewer > missed {
                    true => write!(
                        f,
                        "; {:.1} % would wait too long, {:.1} % with one fewer)",
                        missed * 100.0,
                        missed_with_fewer * 100.0
                    ),
                    false => f.write_str(")"),
                }
            }
            Basis::Drain { waiting, within_ms } => {
                let within = seconds(within_ms);
                write!(
                    f,
                    " ({waiting} in the queue, to be worked off in {within}s)"
                )
            }
            Basis::Scheduled { for_ms } => write!(f, " (for another {})", span(*for_ms)),
            Basis::Upcoming { in_ms } => write!(f, " (its time is in {})", span(*in_ms)),
            Basis::Formula { value } => write!(f, " (its result is {value:.2})"),
            Basis::Failed { why } => write!(f, " ({why})"),
            Basis::Burst => f.write_str(" (arrivals have at least doubled within seconds)"),
            Basis::Slow { p95, slo, busy } => {
                write!(f, " (p95 {p95}, slo {slo}, {:.0} % busy)", busy * 100.0)
            }
        }
    }
}

/// `45s`, `12m`, `3h20m`.
fn span(ms: u64) -> String {
    match ms.div_ceil(1000) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn seconds(ms: &u64) -> u64 {
    ms.div_ceil(1000)
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Min { min } => write!(f, "fleet.min is {min}"),
            Guard::Max { max } => write!(f, "fleet.max is {max}"),
            Guard::Budget { workers } => {
                write!(f, "cost.budget_per_hour pays for {workers}")
            }
            Guard::Override { by_hand } => write!(f, "{by_hand}"),
            Guard::Stabilization { window } => write!(f, "not throughout the last {window}"),
            Guard::Steps => f.write_str("the policy's steps allow no more for now"),
            Guard::LaunchesHeld { for_ms, .. } => {
                write!(f, "launches keep failing, next try in {}s", seconds(for_ms))
            }
            Guard::Blind => f.write_str("no proxy answers, so none is removed"),
            Guard::Partial { missing } => {
                write!(
                    f,
                    "{} does not answer, so none is removed",
                    missing.join(", ")
                )
            }
            Guard::Missing { signal } => {
                write!(f, "{signal} is unknown, so none is removed")
            }
            Guard::MassSilence => f.write_str(
                "most workers fell silent together, so none is replaced before fleet.mass_silence",
            ),
            Guard::Watching { for_ms } => {
                write!(f, "none is removed in the first {}s", seconds(for_ms))
            }
            Guard::Unlikely { workers } => {
                write!(f, "{workers} that boot will probably not be ready in time")
            }
            Guard::Booting => f.write_str("booting workers do not count before they serve"),
            Guard::DrainGaveUp { id } => write!(f, "{id} did not finish within fleet.drain_limit"),
            Guard::FleetHolds { why } => write!(f, "{why}, so none is removed"),
            Guard::DrainsHeld { for_ms } => {
                write!(
                    f,
                    "next drain in {}s, as the last was not finished",
                    seconds(for_ms)
                )
            }
        }
    }
}
