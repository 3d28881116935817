//! Simulated workers, from launch to bill.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tidegate_queue::{Capacity, EndpointId, Moment, Queue, Usage};

use super::{Outage, Scenario};
use tidegate_control::chance::Chance;

/// Workers count from 0 in the order of their launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkerId(u32);

/// As heartbeats name it; names sort as numbers do.
impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker-{:08}", self.0)
    }
}

impl FromStr for WorkerId {
    type Err = ();

    fn from_str(name: &str) -> Result<WorkerId, ()> {
        let number = name.strip_prefix("worker-").ok_or(())?;
        number.parse().map(WorkerId).map_err(|_| ())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Booting,
    Serving,
    /// Finishing what it has.
    Draining,
}

/// A worker as the platform lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: WorkerId,
    pub launched: Moment,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    launched: Moment,
    stage: Stage,
    endpoint: Option<EndpointId>,
}

/// What happens to a worker by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Ready,
    Lost,
}

/// All workers that are billed now, and the bill so far.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerId, Worker>,
    by_endpoint: BTreeMap<EndpointId, WorkerId>,
    turns: BinaryHeap<Reverse<(Moment, WorkerId, Turn)>>,
    chance: Chance,
    launched: u32,
    serving: u32,
    booting: u32,
    billed: Duration,
    slots: u32,
    lead_time: Duration,
    lead_spread: f64,
    spot_losses_per_hour: f64,
    minimum_bill: Duration,
    capacity: Chance,
    failed_launches: f64,
    capacity_outages: Vec<Outage>,
}

impl Fleet {
    pub fn new(scenario: &Scenario, seed: u64) -> Fleet {
        Fleet {
            workers: BTreeMap::new(),
            by_endpoint: BTreeMap::new(),
            turns: BinaryHeap::new(),
            chance: Chance::new(seed, "fleet"),
            launched: 0,
            serving: 0,
            booting: 0,
            billed: Duration::ZERO,
            slots: scenario.slots,
            lead_time: *scenario.lead_time,
            lead_spread: scenario.lead_spread,
            spot_losses_per_hour: scenario.spot_losses_per_hour,
            minimum_bill: *scenario.minimum_bill,
            capacity: Chance::new(seed, "capacity"),
            failed_launches: scenario.failed_launches,
            capacity_outages: scenario.capacity_outages.clone(),
        }
    }

    pub fn serving(&self) -> u32 {
        self.serving
    }

    pub fn booting(&self) -> u32 {
        self.booting
    }

    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Workers launched so far, those of the start included.
    pub fn launched(&self) -> u32 {
        self.launched
    }

    pub fn members(&self) -> Vec<Member> {
        let workers = self.workers.iter();
        let member = |(id, worker): (&WorkerId, &Worker)| Member {
            id: *id,
            launched: worker.launched,
            stage: worker.stage,
        };
        workers.map(member).collect()
    }

    /// Requests that worker `id` is at.
    pub fn permits(&self, queue: &Queue, id: WorkerId) -> u32 {
        let endpoint = self.workers.get(&id).and_then(|worker| worker.endpoint);
        endpoint.map_or(0, |endpoint| queue.endpoints().permits(endpoint))
    }

    pub fn stage(&self, id: WorkerId) -> Option<Stage> {
        self.workers.get(&id).map(|worker| worker.stage)
    }

    pub fn on_endpoint(&self, endpoint: EndpointId) -> Option<WorkerId> {
        self.by_endpoint.get(&endpoint).copied()
    }

    /// Starts workers that were launched early enough to be ready at once.
    pub fn begin(&mut self, queue: &mut Queue, count: u32) {
        for _ in 0..count {
            let (id, _) = self.add(Moment::ZERO);
            self.ready(Moment::ZERO, queue, id);
        }
    }

    /// Launches workers, unless no capacity is to be had.
    pub fn launch(&mut self, now: Moment, count: u32) {
        if count == 0 || Outage::covers(&self.capacity_outages, now) {
            return;
        }
        if self.failed_launches > 0.0 && self.capacity.unit() <= self.failed_launches {
            return;
        }
        for _ in 0..count {
            let (id, lead_time) = self.add(now);
            self.turns.push(Reverse((now + lead_time, id, Turn::Ready)));
        }
    }

    pub fn next_turn_at(&self) -> Moment {
        self.turns
            .peek()
            .map_or(Moment::MAX, |Reverse((at, ..))| *at)
    }

    pub fn take_turn(&mut self) -> Option<(WorkerId, Turn)> {
        self.turns.pop().map(|Reverse((_, id, turn))| (id, turn))
    }

    /// The worker begins to take requests. Nothing happens when it was cancelled before.
    pub fn ready(&mut self, now: Moment, queue: &mut Queue, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let endpoint = queue.endpoints_mut().add();
        let capacity = Capacity::of_slots(self.slots);
        (queue.endpoints_mut()).update(endpoint, capacity, Usage::default(), true);
        worker.endpoint = Some(endpoint);
        worker.stage = Stage::Serving;
        self.by_endpoint.insert(endpoint, id);
        self.booting -= 1;
        self.serving += 1;
        if self.spot_losses_per_hour > 0.0 {
            let hours = self.chance.exponential() / self.spot_losses_per_hour;
            let lost = now + Duration::from_secs_f64(hours * 3600.0);
            self.turns.push(Reverse((lost, id, Turn::Lost)));
        }
    }

    /// Stops hand-outs to a serving worker, or takes that back; says whether it did.
    pub fn shift(&mut self, queue: &mut Queue, id: WorkerId, to: Stage) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else {
            return false;
        };
        match (worker.stage, to) {
            (Stage::Serving, Stage::Draining) => self.serving -= 1,
            (Stage::Draining, Stage::Serving) => self.serving += 1,
            _ => return false,
        }
        worker.stage = to;
        if let Some(endpoint) = worker.endpoint {
            let taking = to == Stage::Serving;
            let capacity = Capacity::of_slots(self.slots);
            (queue.endpoints_mut()).update(endpoint, capacity, Usage::default(), taking);
        }
        true
    }

    /// Ends a worker and bills it. Returns its endpoint, which holds what it was at.
    pub fn end(&mut self, now: Moment, id: WorkerId) -> Option<EndpointId> {
        let worker = self.workers.remove(&id)?;
        match worker.stage {
            Stage::Booting => self.booting -= 1,
            Stage::Serving => self.serving -= 1,
            Stage::Draining => {}
        }
        let lived = now.saturating_sub(worker.launched);
        self.billed += lived.max(self.minimum_bill);
        worker.endpoint.inspect(|endpoint| {
            self.by_endpoint.remove(endpoint);
        })
    }

    /// Whom to let go so that `surplus` fewer workers count: those that boot, the newest first,
    /// then the least busy, among equals the newest.
    pub fn victims(&self, queue: &Queue, surplus: u32) -> Vec<WorkerId> {
        let counted = (self.workers.iter()).filter(|(_, worker)| worker.stage != Stage::Draining);
        let mut order: Vec<_> = counted
            .map(|(id, worker)| {
                let serves = worker.stage == Stage::Serving;
                (serves, self.permits(queue, *id), Reverse(*id))
            })
            .collect();
        order.sort_unstable();
        let first = order.into_iter().take(surplus as usize);
        first.map(|(_, _, Reverse(id))| id).collect()
    }

    /// The bill if everything ended at `now`: launch to end, booting included.
    pub fn bill(&self, now: Moment) -> Duration {
        let lived = |worker: &Worker| now.saturating_sub(worker.launched);
        self.billed + self.workers.values().map(lived).sum::<Duration>()
    }

    /// Lead times are drawn in the order of launches, so that all policies meet the same ones.
    fn add(&mut self, now: Moment) -> (WorkerId, Duration) {
        let spread = self.chance.between(-self.lead_spread, self.lead_spread);
        let id = WorkerId(self.launched);
        let worker = Worker {
            launched: now,
            stage: Stage::Booting,
            endpoint: None,
        };
        self.launched += 1;
        self.booting += 1;
        self.workers.insert(id, worker);
        (id, self.lead_time.mul_f64(1.0 + spread))
    }
}
