//! One worker, as its last heartbeat and its last tries describe it.

use std::time::Duration;

use tidegate_protocol::{Heartbeat, Order, WorkerSignal, WorkerState};

use super::{AttemptError, FULL_PAUSE, QueueId, RegistryConfig};
use crate::{EndpointId, Moment};

/// The second connection in a row that fails keeps a worker out for this long, each further one
/// for twice as long, up to half a minute.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub beat: Heartbeat,
    /// The boot before this one; a heartbeat of it that arrives late changes nothing.
    pub boot_before: Option<String>,
    pub queue: QueueId,
    pub endpoint: EndpointId,
    /// The last sign of life: a heartbeat or an answered request.
    pub heard: Moment,
    beat_at: Moment,
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
    pub fn new(now: Moment, beat: Heartbeat, queue: QueueId, endpoint: EndpointId) -> Self {
        Worker {
            beat,
            boot_before: None,
            queue,
            endpoint,
            heard: now,
            beat_at: now,
            failed: false,
            full_until: Moment::ZERO,
            unreachable: 0,
            unreachable_until: Moment::ZERO,
            drain_ordered: false,
            undrain_ordered: false,
        }
    }

    /// A heartbeat clears what failed tries have shown.
    pub fn accept(&mut self, now: Moment, beat: Heartbeat) {
        self.heard = now;
        self.beat_at = now;
        self.failed = false;
        self.full_until = Moment::ZERO;
        self.undrain_ordered &= beat.state == WorkerState::Draining;
        self.beat = beat;
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

    /// What the worker is still to be told.
    pub fn order(&self) -> Option<Order> {
        let drains = self.beat.state == WorkerState::Draining;
        match (self.drain_ordered, self.undrain_ordered) {
            (true, _) if !drains => Some(Order::Drain),
            (false, true) if drains => Some(Order::Undrain),
            _ => None,
        }
    }

    pub fn is_silent(&self, now: Moment, after: Duration) -> bool {
        now.saturating_sub(self.heard) > after
    }

    pub fn is_taking(&self, now: Moment, silent: bool) -> bool {
        let ready = self.beat.state == WorkerState::Ready && !self.drain_ordered;
        ready && !self.failed && !silent && now >= self.unreachable_until
    }

    /// Silent for so long that it will not come back. When most workers fell silent together,
    /// only one that left or failed is gone.
    pub fn is_gone(&self, now: Moment, most_vanished: bool, config: &RegistryConfig) -> bool {
        match self {
            worker if worker.is_draining() => self.is_silent(now, config.silence),
            worker if worker.failed => self.is_silent(now, config.forget_failed),
            _ => !most_vanished && self.is_silent(now, config.forget),
        }
    }

    /// Slots that others than this proxy hold; all of them while the worker says it is full.
    pub fn elsewhere(&self, now: Moment) -> u32 {
        match now < self.full_until {
            true => self.beat.slots,
            false => self.beat.busy.saturating_sub(self.beat.yours),
        }
    }

    pub fn signal(&self, now: Moment, taking: bool, permits: u32) -> WorkerSignal {
        WorkerSignal {
            worker: self.beat.worker.clone(),
            boot: self.beat.boot.clone(),
            instance: self.beat.instance.clone(),
            address: self.beat.address,
            model: self.beat.model.clone(),
            state: self.beat.state,
            draining: self.is_draining(),
            taking,
            slots: self.beat.slots,
            permits,
            elsewhere: self.elsewhere(now),
            beat_age_ms: now.saturating_sub(self.beat_at).as_millis() as u64,
        }
    }

    fn is_draining(&self) -> bool {
        self.drain_ordered || self.beat.state == WorkerState::Draining
    }
}
