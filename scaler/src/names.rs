//! Workers under the names of their machines: a fleet of instances knows instances, the proxies
//! know workers, and a beat says which worker runs on which instance.
//!
//! Signals are rewritten before anyone looks at them, and orders are given to the workers behind
//! a name. A worker whose beat names no instance keeps its own name.

use std::collections::BTreeMap;

use tidegate_control::Answer;
use tidegate_wire::{WorkerSignal, WorkerState};

/// Which workers of which proxy stand behind a name, where it is not their own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    workers: BTreeMap<(String, String), Vec<String>>,
}

impl Names {
    /// Renames the workers in signals to their instances. Several workers of the model on one
    /// instance become one: busy with all that they are busy with, ready when one is, draining
    /// when all are.
    pub fn of_instances(answers: &mut [Answer], model: Option<&str>) -> Names {
        let mut names = Names::default();
        for answer in answers {
            let Some(signal) = &mut answer.signal else {
                continue;
            };
            let workers = std::mem::take(&mut signal.workers);
            let ours = |worker: &WorkerSignal| model.is_none_or(|model| worker.model == model);
            let mut united: BTreeMap<String, WorkerSignal> = BTreeMap::new();
            for mut worker in workers.into_iter().filter(ours) {
                if let Some(instance) = worker.instance.clone() {
                    let key = (answer.source.clone(), instance.clone());
                    let behind = names.workers.entry(key).or_default();
                    behind.push(std::mem::replace(&mut worker.worker, instance));
                }
                match united.get_mut(&worker.worker) {
                    Some(first) => unite(first, &worker),
                    None => drop(united.insert(worker.worker.clone(), worker)),
                }
            }
            signal.workers = united.into_values().collect();
        }
        names
    }

    /// The names by which a proxy knows the workers behind `name`.
    pub fn behind<'a>(&'a self, proxy: &str, name: &'a str) -> Vec<&'a str> {
        let key = (proxy.to_owned(), name.to_owned());
        match self.workers.get(&key) {
            Some(workers) => workers.iter().map(String::as_str).collect(),
            None => vec![name],
        }
    }
}

fn unite(first: &mut WorkerSignal, other: &WorkerSignal) {
    let states = [first.state, other.state];
    first.state = match states {
        states if states.contains(&WorkerState::Ready) => WorkerState::Ready,
        states if states.contains(&WorkerState::Warming) => WorkerState::Warming,
        _ => WorkerState::Draining,
    };
    first.draining &= other.draining;
    first.taking |= other.taking;
    first.slots = first.slots.saturating_add(other.slots);
    first.permits = first.permits.saturating_add(other.permits);
    first.elsewhere = first.elsewhere.saturating_add(other.elsewhere);
    first.beat_age_ms = first.beat_age_ms.min(other.beat_age_ms);
}
