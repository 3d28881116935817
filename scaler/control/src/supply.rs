//! Who of the fleet counts: capacity that serves, capacity that will, and what is neither.

use crate::{Fleet, FleetRules, Observation, Replacement, Stage, Time, WhyReplaced};

/// The fleet, sorted by what can be expected of each worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    /// Serving; the least busy first, among equals the youngest.
    pub serving: Vec<String>,
    /// Launched, and within its lead time.
    pub booting: u32,
    /// Draining on our order, the latest order first.
    pub draining: Vec<(String, Time)>,
    /// Not to be counted on any more.
    pub failed: Vec<Replacement>,
    pub leaving: u32,
}

impl Supply {
    pub fn of(now: Time, fleet: &Fleet, seen: &Observation, rules: &FleetRules) -> Supply {
        let mut supply = Supply::default();
        let mut serving = Vec::new();
        for worker in &fleet.workers {
            let id = worker.id.clone();
            if let Some(why) = why_replaced(now, worker.launched, worker.stage, rules)
                && seen.is_complete()
                && seen.busy(&id) == 0
            {
                supply.failed.push(Replacement { id, why });
                continue;
            }
            match worker.stage {
                Stage::Booting => supply.booting += 1,
                Stage::Serving { .. } => serving.push((seen.busy(&id), worker.launched, id)),
                Stage::Draining { since } => supply.draining.push((id, since)),
                Stage::Leaving => supply.leaving += 1,
            }
        }
        serving.sort_by(|a, b| (a.0, b.1, &a.2).cmp(&(b.0, a.1, &b.2)));
        supply.serving = serving.into_iter().map(|(_, _, id)| id).collect();
        supply
            .draining
            .sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        supply
    }

    /// Workers that serve, or will within their lead time.
    pub fn counted(&self) -> u32 {
        self.serving.len() as u32 + self.booting
    }
}

/// A worker that has failed by what is known. Acted upon only when nothing is missing from what
/// is known: a blind scaler sees no worker become ready either.
fn why_replaced(
    now: Time,
    launched: Time,
    stage: Stage,
    rules: &FleetRules,
) -> Option<WhyReplaced> {
    match stage {
        Stage::Booting if now.since(launched) > *rules.lead_time => Some(WhyReplaced::Overdue {
            lead_time: rules.lead_time,
        }),
        Stage::Serving { heard } if now.since(heard) > *rules.silence => {
            Some(WhyReplaced::Silent {
                for_ms: now.since(heard).as_millis() as u64,
            })
        }
        _ => None,
    }
}
