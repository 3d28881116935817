//! The fleet as the law sees it: who is there, since when, and how far along.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Observation, Time};

/// How long after its drain was taken back a worker may still be reported as draining.
const UNDRAIN_GRACE: Duration = Duration::from_secs(10);

/// A member as the fleet itself knows it: a process, a container, an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The fleet's name for it, which is also its worker's id in heartbeats.
    pub id: String,
    pub launched: Time,
    /// It is on its way out: told to stop, or taken away.
    pub leaving: bool,
}

/// All workers at one tick, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    pub workers: Vec<Worker>,
    /// Starts keep failing: nothing is to be launched before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launches_held_until: Option<Time>,
    /// Why the fleet itself wants no worker removed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_in_held: Option<String>,
    /// Workers that drain because an operator said so: they are not taken back, whatever is needed
    /// and however long it takes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept_draining: Vec<String>,
    /// Launches whose worker has its own name from now on: before, and after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub id: String,
    pub launched: Time,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Launched, and not ready yet.
    Booting,
    /// Has been ready.
    Serving {
        /// When its newest heartbeat came in.
        heard: Time,
    },
    /// Finishing what it has, on our order.
    Draining { since: Time },
    /// Finishing what it has, though nobody here ordered it.
    Quitting { since: Time },
    /// Told to stop, or taken away.
    Leaving,
}

/// Follows each member from launch to leaving, by what the fleet, the heartbeats and our own orders say.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    heard: BTreeMap<String, Time>,
    draining: BTreeMap<String, Time>,
    /// Those of them that stay so until an operator takes them back.
    kept_draining: BTreeSet<String>,
    undrained: BTreeMap<String, Time>,
    quitting: BTreeMap<String, Time>,
}

impl Roster {
    /// The fleet at this tick.
    pub fn update(
        &mut self,
        now: Time,
        members: &[Member],
        observation: &Observation,
    ) -> Vec<Worker> {
        self.forget_absent(now, members);
        let mut workers: Vec<Worker> = members
            .iter()
            .map(|member| Worker {
                id: member.id.clone(),
                launched: member.launched,
                stage: self.stage(now, member, observation),
            })
            .collect();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        workers
    }

    /// We ordered `id` to drain.
    pub fn drain(&mut self, now: Time, id: &str) {
        self.undrained.remove(id);
        self.draining.entry(id.to_owned()).or_insert(now);
    }

    /// An operator ordered `id` to drain.
    pub fn keep_draining(&mut self, now: Time, id: &str) {
        self.drain(now, id);
        self.kept_draining.insert(id.to_owned());
    }

    /// We took the order back.
    pub fn undrain(&mut self, now: Time, id: &str) {
        self.draining.remove(id);
        self.kept_draining.remove(id);
        self.undrained.insert(id.to_owned(), now);
    }

    /// Another gives the orders now: ours are no more.
    pub fn forget_orders(&mut self) {
        self.draining.clear();
        self.kept_draining.clear();
        self.undrained.clear();
    }

    /// Workers that we ordered to drain, and since when.
    pub fn draining(&self) -> impl Iterator<Item = (&str, Time)> {
        self.draining
            .iter()
            .map(|(id, since)| (id.as_str(), *since))
    }

    /// Of those, the ones that an operator ordered.
    pub fn kept_draining(&self) -> &BTreeSet<String> {
        &self.kept_draining
    }

    /// Takes up what an earlier run of the scaler had ordered.
    pub fn recall(&mut self, fleet: &Fleet) {
        (self.kept_draining).extend(fleet.kept_draining.iter().cloned());
        for worker in &fleet.workers {
            match worker.stage {
                Stage::Draining { since } => self.drain(since, &worker.id),
                Stage::Serving { heard } => {
                    self.heard.insert(worker.id.clone(), heard);
                }
                Stage::Booting | Stage::Quitting { .. } | Stage::Leaving => {}
            }
        }
    }

    fn forget_absent(&mut self, now: Time, members: &[Member]) {
        let ids: BTreeSet<&String> = members.iter().map(|member| &member.id).collect();
        let there = |id: &String| ids.contains(id);
        self.heard.retain(|id, _| there(id));
        self.draining.retain(|id, _| there(id));
        self.kept_draining.retain(|id| there(id));
        self.quitting.retain(|id, _| there(id));
        self.undrained
            .retain(|id, at| there(id) && now.since(*at) <= UNDRAIN_GRACE);
    }

    fn stage(&mut self, now: Time, member: &Member, observation: &Observation) -> Stage {
        let id = &member.id;
        let reports = || observation.of_worker(id).flatten();
        let was_ready = self.heard.contains_key(id);
        if (was_ready || reports().any(|report| report.ready))
            && let Some(heard) = observation.heard(id, now)
        {
            let newest = self.heard.entry(id.clone()).or_insert(heard);
            *newest = heard.max(*newest);
        }
        if member.leaving {
            return Stage::Leaving;
        }
        if let Some(since) = self.draining.get(id) {
            return Stage::Draining { since: *since };
        }
        let drains_itself = reports().any(|report| report.draining);
        if drains_itself && !self.undrained.contains_key(id) {
            let since = *self.quitting.entry(id.clone()).or_insert(now);
            return Stage::Quitting { since };
        }
        if reports().next().is_some() {
            self.quitting.remove(id);
        }
        match self.heard.get(id) {
            Some(heard) => Stage::Serving { heard: *heard },
            None => Stage::Booting,
        }
    }
}
