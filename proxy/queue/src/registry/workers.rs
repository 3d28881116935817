//! The workers that announced themselves, and when each is to be looked at again.
//!
//! Changes that only time causes, such as silence, have a due time, so that checking the workers costs
//! nothing until one is due. A worker's due time may be too early, because a heartbeat moves it
//! without changing the order; then it is postponed when it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::RegistryConfig;
use super::queues::QueueId;
use super::worker::Worker;
use crate::{EndpointId, Moment};

/// One boot of one worker.
pub(super) type WorkerKey = (QueueId, EndpointId);

#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    by_name: BTreeMap<Arc<str>, WorkerKey>,
    known: BTreeMap<WorkerKey, Worker>,
    due: BTreeSet<(Moment, WorkerKey)>,
    silent: BTreeSet<WorkerKey>,
    /// Most of them fell silent together: then it is more likely this proxy that is cut off.
    pub most_vanished: bool,
}

impl Workers {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn find(&self, name: &str) -> Option<WorkerKey> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, key: WorkerKey) -> Option<&Worker> {
        self.known.get(&key)
    }

    pub fn get_mut(&mut self, key: WorkerKey) -> Option<&mut Worker> {
        self.known.get_mut(&key)
    }

    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerKey, &Worker)> {
        let keys = self.by_name.values();
        keys.filter_map(|key| Some((*key, self.known.get(key)?)))
    }

    pub fn keys(&self) -> Vec<WorkerKey> {
        self.known.keys().copied().collect()
    }

    pub fn insert(&mut self, key: WorkerKey, worker: Worker) {
        self.by_name.insert(worker.said.worker.as_str().into(), key);
        self.known.insert(key, worker);
    }

    pub fn remove(&mut self, key: WorkerKey) -> Option<Worker> {
        let worker = self.known.remove(&key)?;
        self.by_name.remove(worker.said.worker.as_str());
        self.due.remove(&(worker.due, key));
        self.silent.remove(&key);
        Some(worker)
    }

    /// Whether a worker is to be handed nothing because it is silent.
    pub fn is_kept_out(&self, key: WorkerKey) -> bool {
        !self.most_vanished && self.silent.contains(&key)
    }

    pub fn is_silent(&self, key: WorkerKey) -> bool {
        self.silent.contains(&key)
    }

    /// Looks whether a worker is silent.
    pub fn listen(&mut self, now: Moment, key: WorkerKey, config: &RegistryConfig) {
        let Some(worker) = self.known.get(&key) else {
            return;
        };
        match worker.is_silent(now, config.silence) {
            true => self.silent.insert(key),
            false => self.silent.remove(&key),
        };
    }

    /// Those that are silent, if it changed just now whether most are.
    pub fn judge_silence(&mut self) -> Vec<WorkerKey> {
        let most_vanished = self.silent.len() * 2 > self.known.len();
        match std::mem::replace(&mut self.most_vanished, most_vanished) == most_vanished {
            true => Vec::new(),
            false => self.silent.iter().copied().collect(),
        }
    }

    /// Sees to it that a worker is looked at when something about it changes by itself.
    pub fn schedule(&mut self, now: Moment, key: WorkerKey, config: &RegistryConfig) {
        let is_silent = self.silent.contains(&key);
        let most_vanished = self.most_vanished;
        let Some(worker) = self.known.get_mut(&key) else {
            return;
        };
        let due = worker.next_change(now, is_silent, most_vanished, config);
        if due < worker.due {
            self.due.remove(&(worker.due, key));
            worker.due = due;
            if due < Moment::MAX {
                self.due.insert((due, key));
            }
        }
    }

    /// The next worker that is due, to be scheduled again.
    pub fn next_due(&mut self, now: Moment) -> Option<WorkerKey> {
        let (at, key) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        if let Some(worker) = self.known.get_mut(&key) {
            worker.due = Moment::MAX;
        }
        Some(key)
    }
}
