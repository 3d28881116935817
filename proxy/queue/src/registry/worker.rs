//! One worker, as its last heartbeat and its last attempts describe it.

use std::time::Duration;

use tidegate_protocol::{Heartbeat, Order, WorkerSignal, WorkerState};

use super::{AttemptError, FULL_PAUSE, RegistryConfig};
use crate::{Capacity, Moment, Usage};

/// The second connection in a row that fails keeps a worker out for this long, each further one
/// for twice as long, up to half a minute.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);

/// How often one is looked at that would be forgotten if it held no permit.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub(super) struct Worker {
    /// Its last heartbeat.
    pub said: Heartbeat,
    /// The boot before this one; a heartbeat of it that arrives late changes nothing.
    pub boot_before: Option<String>,
    /// When it is to be looked at, as the order of due times has it.
    pub due: Moment,
    /// The last sign of life: a heartbeat or an answered request.
    heard: Moment,
    heartbeat_at: Moment,
    /// A try failed since the last heartbeat.
    failed: bool,
    full_until: Moment,
    /// Connections that failed one after the other; a heartbeat says nothing of them.
    unreachable: u32,
    unreachable_until: Moment,
    drain_ordered: bool,
    undrain_ordered: bool,
}

impl Worker {
    pub fn new(now: Moment, said: Heartbeat, boot_before: Option<String>) -> Self {
        Worker {
            said,
            boot_before,
            due: Moment::MAX,
            heard: now,
            heartbeat_at: now,
            failed: false,
            full_until: Moment::ZERO,
            unreachable: 0,
            unreachable_until: Moment::ZERO,
            drain_ordered: false,
            undrain_ordered: false,
        }
    }

    /// A heartbeat clears what failed tries have shown.
    pub fn accept(&mut self, now: Moment, said: Heartbeat) {
        self.heard = now;
        self.heartbeat_at = now;
        self.failed = false;
        self.full_until = Moment::ZERO;
        self.undrain_ordered &= said.state == WorkerState::Draining;
        self.said = said;
    }

    /// An answer clears it all.
    pub fn answered(&mut self, now: Moment) {
        self.heard = now;
        self.unreachable = 0;
    }

    pub fn set_back(&mut self, now: Moment, attempt_error: AttemptError) {
        if attempt_error == AttemptError::Full {
            self.full_until = now + FULL_PAUSE;
            return;
        }
        self.failed = true;
        if attempt_error == AttemptError::Unreachable {
            let pause = UNREACHABLE_PAUSE * (1 << self.unreachable.min(5));
            // The first time, the next heartbeat is proof enough.
            if self.unreachable > 0 {
                self.unreachable_until = now + pause;
            }
            self.unreachable += 1;
        }
    }

    pub fn drain(&mut self) {
        self.drain_ordered = true;
        self.undrain_ordered = false;
    }

    /// Also for a worker that drains by an order that this proxy does not remember; one that is
    /// stopping ignores it.
    pub fn undrain(&mut self) {
        self.undrain_ordered |= self.is_draining();
        self.drain_ordered = false;
    }

    /// The order that the worker has not obeyed yet.
    pub fn order(&self) -> Option<Order> {
        let drains = self.said.state == WorkerState::Draining;
        match (self.drain_ordered, self.undrain_ordered) {
            (true, _) if !drains => Some(Order::Drain),
            (false, true) if drains => Some(Order::Undrain),
            _ => None,
        }
    }

    pub fn is_silent(&self, now: Moment, after: Duration) -> bool {
        now.saturating_sub(self.heard) >= after
    }

    /// When something changes if nothing is heard: a pause ends, it counts as silent, or it is to
    /// be forgotten. [`Moment::MAX`] if nothing does.
    pub fn next_change(
        &self,
        now: Moment,
        is_silent: bool,
        most_vanished: bool,
        config: &RegistryConfig,
    ) -> Moment {
        let pauses = [self.full_until, self.unreachable_until];
        let pause = pauses.into_iter().filter(|until| *until > now).min();
        let by_itself = match (is_silent, self.gone_after(most_vanished, config)) {
            (false, _) => self.heard + config.silence,
            // Gone, but for the permits that it holds.
            (true, Some(after)) => (self.heard + after).max(now + LOOK_AGAIN),
            (true, None) => Moment::MAX,
        };
        by_itself.min(pause.unwrap_or(Moment::MAX))
    }

    pub fn is_taking(&self, now: Moment, silent: bool) -> bool {
        let ready = self.said.state == WorkerState::Ready && !self.drain_ordered;
        ready && !self.failed && !silent && now >= self.unreachable_until
    }

    /// Silent for so long that it will not come back.
    pub fn is_gone(&self, now: Moment, most_vanished: bool, config: &RegistryConfig) -> bool {
        let after = self.gone_after(most_vanished, config);
        after.is_some_and(|after| self.is_silent(now, after))
    }

    /// When most workers fell silent together, only one that left or failed is ever gone.
    fn gone_after(&self, most_vanished: bool, config: &RegistryConfig) -> Option<Duration> {
        match self {
            worker if worker.is_draining() => Some(config.silence),
            worker if worker.failed => Some(config.forget_failed),
            _ => (!most_vanished).then_some(config.forget),
        }
    }

    pub fn capacity(&self) -> Capacity {
        Capacity {
            slots: self.said.slots,
            tokens: self.said.tokens,
        }
    }

    /// What others than this proxy hold; all slots while the worker says it is full. Its tokens
    /// are reported as one sum: others have the share of them that they have of its requests.
    pub fn elsewhere(&self, now: Moment) -> Usage {
        let Heartbeat { busy, yours, .. } = self.said;
        let others = busy.saturating_sub(yours);
        let tokens = u128::from(self.said.tokens_busy) * u128::from(others);
        Usage {
            requests: match now < self.full_until {
                true => self.said.slots,
                false => others,
            },
            tokens: (tokens / u128::from(busy.max(1))) as u64,
        }
    }

    pub fn signal(&self, now: Moment, taking: bool, permits: u32) -> WorkerSignal {
        WorkerSignal {
            worker: self.said.worker.clone(),
            boot: self.said.boot.clone(),
            instance: self.said.instance.clone(),
            address: self.said.address,
            model: self.said.model.clone(),
            state: self.said.state,
            draining: self.is_draining(),
            taking,
            slots: self.said.slots,
            permits,
            elsewhere: self.elsewhere(now).requests,
            beat_age_ms: now.saturating_sub(self.heartbeat_at).as_millis() as u64,
        }
    }

    fn is_draining(&self) -> bool {
        self.drain_ordered || self.said.state == WorkerState::Draining
    }
}
