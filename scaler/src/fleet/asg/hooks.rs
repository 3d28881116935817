//! Lifecycle hooks: an instance enters service when its model answers, and leaves when its worker
//! has drained.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_control::{Observation, Time, WorkerObservation};

use super::group::{Hook, Instance, State, Transition};

/// A completion that does not show is given again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A worker that no proxy has heard of for so long, and that holds no permit, has nothing to
/// finish.
const SILENT_MS: u64 = 10_000;

/// Between two requests for more time, whatever the hook's timeout is.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// Until the hooks were read.
const USUAL_TIMEOUT_S: u32 = 60;

/// Calls in one tick.
const MOST: usize = 8;

/// The hooks that are ours to complete.
#[derive(Clone, Debug)]
pub struct Hooks {
    launch: Option<String>,
    terminate: Option<String>,
    terminate_timeout_s: u32,
    drain_limit: Duration,
    waiting: BTreeMap<String, Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Time,
    /// The last call for it, and when.
    called: Option<(What, Time)>,
    /// Its model has answered.
    answered: bool,
}

/// A call that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub id: String,
    pub hook: String,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    GoOn,
    Wait,
}

impl Hooks {
    /// `drain_limit`: after that long an instance that leaves is waited for no more.
    pub fn new(launch: Option<String>, terminate: Option<String>, drain_limit: Duration) -> Hooks {
        Hooks {
            launch,
            terminate,
            terminate_timeout_s: USUAL_TIMEOUT_S,
            drain_limit,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes in the hooks that the group has. Returns the names of ours that it does not have, or
    /// has for the other transition.
    pub fn take(&mut self, hooks: &[Hook]) -> Vec<String> {
        let on = |name: &&String, on| {
            hooks
                .iter()
                .any(|hook| hook.name == **name && hook.on == on)
        };
        if let Some(name) = &self.terminate
            && let Some(hook) = hooks.iter().find(|hook| hook.name == *name)
        {
            self.terminate_timeout_s = hook.timeout_s;
        }
        let launch = self.launch.iter();
        let launch = launch.filter(|name| !on(name, Transition::Launch));
        let terminate = self.terminate.iter();
        let terminate = terminate.filter(|name| !on(name, Transition::Terminate));
        launch.chain(terminate).cloned().collect()
    }

    /// Whether the model of an instance that waits for a hook has answered.
    pub fn has_answered(&self, id: &str) -> bool {
        self.waiting.get(id).is_some_and(|waiting| waiting.answered)
    }

    /// The calls that are due now, at most a few at a time.
    pub fn due<'a>(
        &mut self,
        now: Time,
        instances: impl Iterator<Item = &'a Instance>,
        seen: &Observation,
    ) -> Vec<Due> {
        let waits = |state| {
            matches!(
                state,
                State::PendingWait | State::WarmWait | State::LeavingWait | State::WarmLeavingWait
            )
        };
        let waiting: Vec<&Instance> = instances.filter(|i| waits(i.state)).collect();
        self.waiting
            .retain(|id, _| waiting.iter().any(|instance| instance.id == *id));
        let mut all = Vec::new();
        for instance in waiting {
            if all.len() == MOST {
                break;
            }
            all.extend(self.due_for(now, instance, seen));
        }
        all
    }

    fn due_for(&mut self, now: Time, instance: &Instance, seen: &Observation) -> Option<Due> {
        let id = &instance.id;
        let fresh = Waiting {
            since: now,
            called: None,
            answered: false,
        };
        let waiting = self.waiting.entry(id.clone()).or_insert(fresh);
        waiting.answered |= is_ready(seen, id);
        let waiting = *waiting;
        let pause = now.since(waiting.called.map_or(waiting.since, |(_, at)| at));
        let (hook, what) = match instance.state {
            State::PendingWait => (&self.launch, waiting.answered.then_some(What::GoOn)),
            // It goes to sleep now, so it shall hold nothing.
            State::WarmWait => {
                let done = waiting.answered && seen.is_drained(id);
                (&self.launch, done.then_some(What::GoOn))
            }
            _ if may_end(seen, id) || now.since(waiting.since) >= self.drain_limit => {
                (&self.terminate, Some(What::GoOn))
            }
            _ => {
                let interval = Duration::from_secs(u64::from(self.terminate_timeout_s) / 3);
                let is_due = pause >= interval.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                (&self.terminate, is_due.then_some(What::Wait))
            }
        };
        let (hook, what) = (hook.clone()?, what?);
        let last = waiting.called.map(|(what, _)| what);
        if what == What::GoOn && last == Some(What::GoOn) && pause < AGAIN_AFTER {
            return None;
        }
        let called = Some((what, now));
        self.waiting
            .insert(id.clone(), Waiting { called, ..waiting });
        let id = id.clone();
        Some(Due { id, hook, what })
    }
}

/// A proxy has heard that the model answers.
fn is_ready(seen: &Observation, id: &str) -> bool {
    seen.of_worker(id)
        .flatten()
        .any(|description| description.ready)
}

/// Every proxy says that the worker has nothing to finish, or does not know one.
fn may_end(seen: &Observation, id: &str) -> bool {
    let idle = |description: Option<&WorkerObservation>| {
        description.is_none_or(|description| {
            description.permits == 0
                && (description.draining || description.beat_age_ms > SILENT_MS)
        })
    };
    seen.is_complete() && seen.of_worker(id).all(idle)
}
