//! The one interface through which rivals and Tidegate's own law size a simulated fleet.
//!
//! A rival wants a number of workers and leaves the victims to the fleet. Our law is called as the
//! daemon calls it: it gets real [`wire::Signal`](tidegate_protocol::Signal)s and the fleet's members,
//! and answers with launches, drains and removals by name.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidegate_protocol::{ModelSignal, Signal, VERSION, WorkerSignal, WorkerState};
use tidegate_queue::{Moment, Queue};

use super::fleet::{Fleet, Member, Stage, WorkerId};
use super::meter::Sample;

pub(super) const MODEL: &str = "simulated";

/// When an autoscaler looks, and how old what it sees is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub period: Duration,
    /// Age of the newest sample that a tick may use.
    pub lag: Duration,
}

pub trait Autoscaler {
    fn timing(&self) -> Timing;

    /// One look at the fleet. `now` counts from the begin of the demand.
    fn tick(&mut self, now: Moment, observed: &Observed<'_>) -> Orders;
}

/// What a tick asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Orders {
    Hold,
    /// So many workers, booting ones counted and draining ones not. The fleet cancels the newest
    /// that boot, then drains the least busy, and removes each when it is empty.
    Size(u32),
    /// Exactly this.
    Moves(Moves),
}

/// Carried out in this order; what names no worker that it fits is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub undrain: Vec<WorkerId>,
    pub launch: u32,
    pub drain: Vec<WorkerId>,
    /// Ends workers; what still runs on them is cut.
    pub remove: Vec<WorkerId>,
}

/// What a tick may know.
#[derive(Clone, Copy)]
pub struct Observed<'a> {
    /// The newest sample that is as old as the autoscaler's lag; `None` while metrics are
    /// missing.
    pub sample: Option<Sample>,
    /// The fleet as the platform knows it, without lag.
    pub serving: u32,
    pub booting: u32,
    seen: Option<Seen<'a>>,
}

/// Where the requests of a simulation are, as far as a proxy tells of it.
pub(super) trait Work {
    fn signal(&self, now: Moment) -> ModelSignal;

    /// Requests that a worker is at.
    fn permits(&self, fleet: &Fleet, id: WorkerId) -> u32;
}

impl Work for Queue {
    fn signal(&self, now: Moment) -> ModelSignal {
        Queue::signal(self, now, MODEL)
    }

    fn permits(&self, fleet: &Fleet, id: WorkerId) -> u32 {
        fleet.permits(self, id)
    }
}

/// The requests and the fleet behind an observation.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    now: Moment,
    work: &'a dyn Work,
    fleet: &'a Fleet,
    blind: bool,
}

impl<'a> Observed<'a> {
    /// An observation without a queue and workers behind it.
    pub fn new(sample: Option<Sample>, serving: u32, booting: u32) -> Observed<'a> {
        Observed {
            sample,
            serving,
            booting,
            seen: None,
        }
    }

    pub(super) fn with(self, seen: Seen<'a>) -> Observed<'a> {
        Observed {
            seen: Some(seen),
            ..self
        }
    }

    /// The proxy's answer to a poll at this tick, as it goes over the wire; `None` while metrics
    /// are missing.
    pub fn signal(&self) -> Option<Signal> {
        let seen = self.seen.filter(|seen| !seen.blind)?;
        Some(seen.signal())
    }

    /// The fleet's members in the order of their launch.
    pub fn members(&self) -> Vec<Member> {
        self.seen.map_or_else(Vec::new, |seen| seen.fleet.members())
    }
}

impl<'a> Seen<'a> {
    pub(super) fn new(now: Moment, work: &'a dyn Work, fleet: &'a Fleet, blind: bool) -> Seen<'a> {
        Seen {
            now,
            work,
            fleet,
            blind,
        }
    }

    fn signal(&self) -> Signal {
        let members = self.fleet.members();
        let workers = members
            .iter()
            .filter(|member| member.stage != Stage::Booting);
        Signal {
            version: VERSION,
            proxy: "simulated".to_owned(),
            epoch: "1".to_owned(),
            now_ms: self.now.as_millis() as u64,
            models: vec![self.work.signal(self.now)],
            workers: workers.map(|member| self.worker(member)).collect(),
        }
    }

    fn worker(&self, member: &Member) -> WorkerSignal {
        let draining = member.stage == Stage::Draining;
        WorkerSignal {
            worker: member.id.to_string(),
            boot: "1".to_owned(),
            instance: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            model: MODEL.to_owned(),
            state: WorkerState::Ready,
            draining,
            taking: !draining,
            slots: self.fleet.slots(),
            permits: self.work.permits(self.fleet, member.id),
            elsewhere: 0,
            beat_age_ms: 0,
        }
    }
}
