//! Workers under the names of their machines: a fleet of instances knows instances, the proxies
//! know workers, and a heartbeat says which worker runs on which instance.
//!
//! Signals are rewritten before anyone looks at them, and orders are given to the workers behind
//! a name. A worker whose heartbeat names no instance keeps its own name.

use std::collections::BTreeMap;

use tidegate_control::Answer;
use tidegate_protocol::{WorkerSignal, WorkerState};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str, instance: Option<&str>, model: &str, permits: u32) -> WorkerSignal {
        WorkerSignal {
            worker: name.to_owned(),
            boot: "b".to_owned(),
            instance: instance.map(str::to_owned),
            address: ([127, 0, 0, 1], 1).into(),
            model: model.to_owned(),
            state: WorkerState::Ready,
            draining: permits == 0,
            taking: true,
            slots: 4,
            permits,
            elsewhere: 0,
            beat_age_ms: 100,
        }
    }

    #[test]
    fn workers_of_an_instance_are_one_and_orders_reach_each_of_them() {
        let workers = vec![
            worker("host-1", Some("i-1"), "m", 2),
            worker("host-2", Some("i-1"), "m", 0),
            worker("host-3", Some("i-1"), "other", 4),
            worker("alone", None, "m", 1),
        ];
        let signal = tidegate_protocol::Signal {
            workers,
            ..Default::default()
        };
        let mut answers = [Answer {
            source: "p".to_owned(),
            signal: Some(signal),
        }];
        let names = Names::of_instances(&mut answers, Some("m"));
        let seen = answers[0].signal.as_ref().expect("it is there");
        let seen: Vec<_> = (seen.workers.iter())
            .map(|w| (w.worker.as_str(), w.permits, w.slots, w.draining))
            .collect();
        assert_eq!(seen, [("alone", 1, 4, false), ("i-1", 2, 8, false)]);
        assert_eq!(names.behind("p", "i-1"), ["host-1", "host-2"]);
        assert_eq!(names.behind("p", "alone"), ["alone"]);
    }
}
