//! Which members of the fleet count: capacity that serves, capacity that will, and neither.

use std::time::Duration;

use crate::boots::Boots;
use crate::{
    Fleet, FleetRules, Guard, Health, Observation, Replacement, Stage, Time, WhyReplaced, Worker,
};

/// How long proxies must have listened before a worker they have not heard of is overdue:
/// a few heartbeats.
const FEW_BEATS: Duration = Duration::from_secs(5);

/// Fewer silent workers than this are silent each for a reason of its own.
const TOGETHER: u32 = 2;

/// The fleet, sorted by what can be expected of each worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supply<'a> {
    pub serving: Vec<Serving<'a>>,
    /// Launched, and within its lead time.
    pub booting: u32,
    /// Those of the booting that will probably not be ready in time.
    pub unlikely: u32,
    /// Draining on our order, the latest order first.
    pub draining: Vec<(&'a str, Time)>,
    /// Draining on an operator's order: not to be taken back.
    pub kept_draining: Vec<&'a str>,
    /// Failed, by all that can be known.
    pub failed: Vec<Replacement>,
    /// Not to be counted on, and not known to have failed, since a proxy or most heartbeats are missing.
    pub doubtful: u32,
    /// Most of the workers fell silent together, so that it is the heartbeats which are lost, as far
    /// as anyone can tell: none has failed.
    pub mass_silence: Option<Guard>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Serving<'a> {
    id: &'a str,
    launched: Time,
}

/// What is known at a tick.
pub(crate) struct Watched<'a> {
    pub now: Time,
    pub seen: &'a Observation,
    pub health: &'a Health,
    pub listening_since: Option<Time>,
    pub rules: &'a FleetRules,
    pub boots: &'a Boots,
    /// When a worker's answer was last counted.
    pub answered: Time,
    /// When ticks last went on after a pause. Time that jumped is no time in which one could boot.
    pub resumed: Time,
}

impl<'a> Supply<'a> {
    pub fn of(watched: &Watched, fleet: &'a Fleet) -> Supply<'a> {
        let mass_silence = watched.mass_silence(fleet);
        let mut supply = Supply::default();
        let mut booting = Vec::new();
        for worker in &fleet.workers {
            let (id, launched) = (worker.id.as_str(), worker.launched);
            if let Some(why) = watched.why_failed(worker)
                && mass_silence.is_none()
            {
                let id = id.to_owned();
                supply.failed.push(Replacement { id, why });
                continue;
            }
            match worker.stage {
                Stage::Booting if watched.doubts(worker, mass_silence.as_ref()) => {
                    supply.doubtful += 1;
                }
                Stage::Booting => {
                    supply.booting += 1;
                    booting.push(worker);
                }
                Stage::Serving { .. } => supply.serving.push(Serving { id, launched }),
                Stage::Draining { .. } if fleet.kept_draining.contains(&worker.id) => {
                    supply.kept_draining.push(id);
                }
                Stage::Draining { since } => supply.draining.push((id, since)),
                Stage::Quitting { .. } | Stage::Leaving => {}
            }
        }
        let lead_time = watched.rules.lead_time.into();
        let missed = (watched.boots).doubtful(watched.now, lead_time, booting.into_iter());
        supply.unlikely = missed.min(supply.booting);
        let latest_first = |a: &(&str, Time), b: &(&str, Time)| (b.1, a.0).cmp(&(a.1, b.0));
        supply.draining.sort_by(latest_first);
        supply.mass_silence = mass_silence;
        supply
    }

    /// The `count` workers that are missed least: the least busy, among equals the youngest.
    pub fn victims(&self, count: u32, seen: &Observation) -> Vec<String> {
        let ids: Vec<&str> = self.serving.iter().map(|worker| worker.id).collect();
        let mut serving: Vec<(u32, Serving)> = (seen
            .busy_each(&ids)
            .into_iter()
            .zip(self.serving.iter().copied()))
        .collect();
        let least_missed = |(busy, a): &(u32, Serving), (other, b): &(u32, Serving)| {
            (busy, b.launched, a.id).cmp(&(other, a.launched, b.id))
        };
        let count = (count as usize).min(serving.len());
        if count < serving.len() {
            serving.select_nth_unstable_by(count, least_missed);
            serving.truncate(count);
        }
        serving.sort_by(least_missed);
        let ids = serving.iter().map(|(_, worker)| worker.id.to_owned());
        ids.collect()
    }

    /// Workers that serve, or will within their lead time.
    pub fn counted(&self) -> u32 {
        self.serving.len() as u32 + self.booting
    }

    /// Of those, the ones that can be expected to.
    pub fn expected(&self) -> u32 {
        self.counted() - self.unlikely
    }

    /// Workers that are there and stay, counted on or not.
    pub fn present(&self) -> u32 {
        let draining = self.draining.len() + self.kept_draining.len();
        self.counted() + draining as u32 + self.doubtful
    }
}

impl Watched<'_> {
    /// Whether more than half of the workers that serve fell silent together. Their last heartbeats
    /// are not from the same moment, so those count too that are about to be silent.
    ///
    /// It ends by time and evidence: when no request was answered and most stayed silent for
    /// `fleet.mass_silence`, it is the workers that are lost, and not their heartbeats.
    fn mass_silence(&self, fleet: &Fleet) -> Option<Guard> {
        let listening_since = self.listening_since?;
        let limit: Duration = self.rules.silence.into();
        let nearly = limit.saturating_sub(FEW_BEATS).max(limit / 2);
        let heard = fleet
            .workers
            .iter()
            .filter_map(|worker| match worker.stage {
                Stage::Serving { heard } => Some(heard.max(listening_since)),
                _ => None,
            });
        let given_up: Duration = self.rules.mass_silence.into();
        let is_answered = self.now.since(self.answered) <= given_up;
        let (mut serving, mut silent, mut lost) = (0, 0, 0);
        for heard in heard {
            let silent_for = self.now.since(heard);
            serving += 1;
            silent += u32::from(silent_for > nearly);
            lost += u32::from(silent_for > given_up);
        }
        let is_over = !is_answered && lost * 2 > serving;
        (silent >= TOGETHER && silent * 2 > serving && !is_over).then_some(Guard::MassSilence)
    }

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
            // Someone else drained it, or it missed that its drain was taken back. Stopping
            // it takes nothing from it that it has.
            Stage::Quitting { since } if self.now.since(since) > *self.rules.drain_limit => {
                let drain_limit = self.rules.drain_limit;
                return Some(WhyReplaced::Stuck { drain_limit });
            }
            _ => return None,
        };
        (self.seen.busy(&worker.id) == 0).then_some(why)
    }

    /// Whether an overdue worker is no longer to be counted on though a proxy or most heartbeats are
    /// missing. To a blind scaler nobody is overdue: it sees no worker become ready either.
    fn doubts(&self, worker: &Worker, mass_silence: Option<&Guard>) -> bool {
        let is_partial = matches!(self.health, Health::Partial { .. });
        (is_partial || mass_silence.is_some()) && self.is_overdue(worker)
    }

    fn is_overdue(&self, worker: &Worker) -> bool {
        let since = worker.launched.max(self.resumed);
        self.now.since(since) > *self.rules.lead_time
    }
}
