//! One worker, as its last beat and its last tries describe it.

use std::time::Duration;

use tidegate_wire::{Beat, Order, WorkerSignal, WorkerState};

use super::{FULL_PAUSE, FloorConfig, LineId, Setback};
use crate::{Moment, SeatId};

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub beat: Beat,
    /// The boot before this one; a beat of it that arrives late changes nothing.
    pub boot_before: Option<String>,
    pub line: LineId,
    pub seat: SeatId,
    /// The last sign of life: a beat or an answered request.
    pub heard: Moment,
    beat_at: Moment,
    /// A try failed since the last beat.
    failed: bool,
    full_until: Moment,
    drain_ordered: bool,
    undrain_ordered: bool,
}

impl Worker {
    pub fn new(now: Moment, beat: Beat, line: LineId, seat: SeatId) -> Self {
        Worker {
            beat,
            boot_before: None,
            line,
            seat,
            heard: now,
            beat_at: now,
            failed: false,
            full_until: Moment::ZERO,
            drain_ordered: false,
            undrain_ordered: false,
        }
    }

    /// A beat clears what failed tries have shown.
    pub fn accept(&mut self, now: Moment, beat: Beat) {
        self.heard = now;
        self.beat_at = now;
        self.failed = false;
        self.full_until = Moment::ZERO;
        self.undrain_ordered &= beat.state == WorkerState::Draining;
        self.beat = beat;
    }

    pub fn set_back(&mut self, now: Moment, setback: Setback) {
        match setback {
            Setback::Full => self.full_until = now + FULL_PAUSE,
            Setback::NotReady | Setback::Unreachable | Setback::Died => self.failed = true,
        }
    }

    pub fn drain(&mut self) {
        self.drain_ordered = true;
        self.undrain_ordered = false;
    }

    pub fn undrain(&mut self) {
        self.undrain_ordered |= self.drain_ordered;
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
        ready && !self.failed && !silent && now >= self.full_until
    }

    /// Silent for so long that it will not come back.
    pub fn is_gone(&self, now: Moment, config: &FloorConfig) -> bool {
        let patience = match self {
            worker if worker.is_draining() => config.silence,
            worker if worker.failed => config.forget_failed,
            _ => config.forget,
        };
        self.is_silent(now, patience)
    }

    /// Slots that others than this proxy hold.
    pub fn elsewhere(&self) -> u32 {
        self.beat.busy.saturating_sub(self.beat.yours)
    }

    pub fn signal(&self, now: Moment, silence: Duration, permits: u32) -> WorkerSignal {
        WorkerSignal {
            worker: self.beat.worker.clone(),
            boot: self.beat.boot.clone(),
            instance: self.beat.instance.clone(),
            address: self.beat.address,
            model: self.beat.model.clone(),
            state: self.beat.state,
            draining: self.is_draining(),
            taking: self.is_taking(now, self.is_silent(now, silence)),
            slots: self.beat.slots,
            permits,
            elsewhere: self.elsewhere(),
            beat_age_ms: now.saturating_sub(self.beat_at).as_millis() as u64,
        }
    }

    fn is_draining(&self) -> bool {
        self.drain_ordered || self.beat.state == WorkerState::Draining
    }
}
