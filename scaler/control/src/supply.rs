//! Who of the fleet counts: capacity that serves, capacity that will, and what is neither.

use std::time::Duration;

use crate::{
    Fleet, FleetRules, Health, Observation, Replacement, Stage, Time, WhyReplaced, Worker,
};

/// How long proxies must have listened before a worker they have not heard of is overdue:
/// a few beats.
const FEW_BEATS: Duration = Duration::from_secs(5);

/// The fleet, sorted by what can be expected of each worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    /// Serving; the least busy first, among equals the youngest.
    pub serving: Vec<String>,
    /// Launched, and within its lead time.
    pub booting: u32,
    /// Draining on our order, the latest order first.
    pub draining: Vec<(String, Time)>,
    /// Failed, by all that can be known.
    pub failed: Vec<Replacement>,
    /// Not to be counted on, and not known to have failed, since a proxy is missing.
    pub doubtful: u32,
}

/// What is known at a tick.
pub(crate) struct Watched<'a> {
    pub now: Time,
    pub seen: &'a Observation,
    pub health: &'a Health,
    pub listening_since: Option<Time>,
    pub rules: &'a FleetRules,
}

impl Supply {
    pub fn of(watched: &Watched, fleet: &Fleet) -> Supply {
        let mut supply = Supply::default();
        let mut serving = Vec::new();
        for worker in &fleet.workers {
            let id = worker.id.clone();
            if let Some(why) = watched.why_failed(worker) {
                supply.failed.push(Replacement { id, why });
                continue;
            }
            match worker.stage {
                Stage::Booting if watched.doubts(worker) => supply.doubtful += 1,
                Stage::Booting => supply.booting += 1,
                Stage::Serving { .. } => {
                    serving.push((watched.seen.busy(&id), worker.launched, id));
                }
                Stage::Draining { since } => supply.draining.push((id, since)),
                Stage::Leaving => {}
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

    /// Workers that are there and stay, counted on or not.
    pub fn present(&self) -> u32 {
        self.counted() + self.draining.len() as u32 + self.doubtful
    }
}

impl Watched<'_> {
    /// Whether a worker has failed by all that can be known: every proxy has been listening for
    /// long enough, and none holds a permit on it.
    fn why_failed(&self, worker: &Worker) -> Option<WhyReplaced> {
        let listened = self.now.since(self.listening_since?);
        let why = match worker.stage {
            Stage::Booting if listened >= FEW_BEATS && self.is_overdue(worker) => {
                let lead_time = self.rules.lead_time;
                WhyReplaced::Overdue { lead_time }
            }
            Stage::Serving { heard } => {
                let silent = self.now.since(heard).min(listened);
                if silent <= *self.rules.silence {
                    return None;
                }
                let for_ms = silent.as_millis() as u64;
                WhyReplaced::Silent { for_ms }
            }
            _ => return None,
        };
        (self.seen.busy(&worker.id) == 0).then_some(why)
    }

    /// Whether an overdue worker is no longer to be counted on though a proxy is missing. To a
    /// blind scaler nobody is overdue: it sees no worker become ready either.
    fn doubts(&self, worker: &Worker) -> bool {
        matches!(self.health, Health::Partial { .. }) && self.is_overdue(worker)
    }

    fn is_overdue(&self, worker: &Worker) -> bool {
        self.now.since(worker.launched) > *self.rules.lead_time
    }
}
