//! The queues of all models, and the workers as their heartbeats describe them.
//!
//! A worker exists here from its first heartbeat. It is handed requests while it says that it is
//! ready, is heard from, is not being drained and has not just failed a try.

mod beat;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_protocol::{Heartbeat, Order, Signal, VERSION};

use self::worker::Worker;
use crate::{Ask, EndpointId, Moment, Outcome, Queue, QueueConfig, Refusal, Ticket};

/// An endpoint that refused as full is asked again after this, unless a heartbeat comes first.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// A gap between two refreshes that means that this process did not run, not that workers died.
const ASLEEP: Duration = Duration::from_secs(1);

/// What the proxy's config says of all its queues.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Models that are known before a worker announces them, so that requests can wait for it.
    pub models: Vec<String>,
    pub queue: QueueConfig,
    /// A worker that was not heard from for this long takes nothing new.
    pub silence: Duration,
    /// A silent worker that also failed its last try is forgotten after this.
    pub forget_failed: Duration,
    /// Any silent worker is forgotten after this.
    pub forget: Duration,
    /// Most workers that may announce themselves.
    pub workers: usize,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        RegistryConfig {
            models: Vec::new(),
            queue: QueueConfig::default(),
            silence: Duration::from_millis(3500),
            forget_failed: Duration::from_secs(10),
            forget: Duration::from_secs(60),
            workers: 10_000,
        }
    }
}

pub use self::beat::{HeartbeatRefused, is_name};

/// No worker of this name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWorker;

/// Names a model's queue on its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(usize);

/// Why a request's model names no queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSuchModel {
    /// No worker serves it and no config names it.
    Unknown,
    /// The request names none and there are several.
    Ambiguous,
    /// The request names none and none is known yet.
    NoneYet,
}

/// A slot of a worker, handed to a request for one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub ticket: Ticket,
    pub endpoint: EndpointId,
    pub address: SocketAddr,
}

/// How a try failed before the first byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptError {
    /// The worker refused it: all its slots are taken.
    Full,
    /// The worker refused it: it warms up or drains.
    NotReady,
    /// No connection came about, so the worker never saw it.
    Unreachable,
    /// The worker took it and the connection broke.
    Died,
}

/// Every queue of one proxy, and every worker that announced itself.
#[derive(Clone, Debug)]
pub struct Registry {
    config: RegistryConfig,
    queues: Vec<(String, Queue)>,
    workers: BTreeMap<String, Worker>,
    names: BTreeMap<(QueueId, EndpointId), String>,
    /// Endpoints of earlier boots that still hold permits.
    retired: Vec<(QueueId, EndpointId)>,
    refreshed: Moment,
}

impl Registry {
    pub fn new(config: RegistryConfig) -> Self {
        let queues = (config.models.iter())
            .map(|model| (model.clone(), Queue::new(config.queue)))
            .collect();
        Registry {
            config,
            queues,
            workers: BTreeMap::new(),
            names: BTreeMap::new(),
            retired: Vec::new(),
            refreshed: Moment::ZERO,
        }
    }

    /// The models that have a queue, in the order they became known.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(|(model, _)| model.as_str())
    }

    pub fn queues(&self) -> impl Iterator<Item = QueueId> + use<> {
        (0..self.queues.len()).map(QueueId)
    }

    /// The model of a queue.
    pub fn model(&self, queue: QueueId) -> &str {
        &self.queues[queue.0].0
    }

    /// The queue of the model that a request names; of the only one, when it names none.
    pub fn queue_of(&self, model: Option<&str>) -> Result<QueueId, NoSuchModel> {
        match (model, self.queues.len()) {
            (Some(model), _) => self.find_queue(model).ok_or(NoSuchModel::Unknown),
            (None, 1) => Ok(QueueId(0)),
            (None, 0) => Err(NoSuchModel::NoneYet),
            (None, _) => Err(NoSuchModel::Ambiguous),
        }
    }

    pub fn arrive(&mut self, now: Moment, queue: QueueId, ask: Ask) -> Result<Ticket, Refusal> {
        self.line_mut(queue).arrive(now, ask)
    }

    /// As [`Queue::hand_out`], with the address of the worker.
    pub fn hand_out(&mut self, now: Moment, queue: QueueId) -> Option<Placement> {
        let grant = self.line_mut(queue).hand_out(now)?;
        let name = self.names.get(&(queue, grant.endpoint))?;
        Some(Placement {
            ticket: grant.ticket,
            endpoint: grant.endpoint,
            address: self.workers.get(name)?.beat.address,
        })
    }

    /// Ends a request. An answered one is a sign of life of its worker.
    pub fn end(
        &mut self,
        now: Moment,
        queue: QueueId,
        ticket: Ticket,
        endpoint: Option<EndpointId>,
        outcome: Outcome,
    ) {
        self.line_mut(queue).end(now, ticket, outcome);
        if let (Outcome::Answered, Some(endpoint)) = (outcome, endpoint) {
            self.with_worker(now, queue, endpoint, |worker| worker.answered(now));
        }
    }

    /// Takes the permit of a failed try and puts its request back at the head of the queue.
    /// `false` when the retry budget is spent: the request is then to be ended as failed.
    pub fn set_back(
        &mut self,
        now: Moment,
        queue: QueueId,
        ticket: Ticket,
        endpoint: EndpointId,
        attempt_error: AttemptError,
    ) -> bool {
        self.blame(now, queue, endpoint, attempt_error);
        if attempt_error == AttemptError::Died {
            return self.line_mut(queue).retry(ticket);
        }
        self.line_mut(queue).put_back(ticket);
        true
    }

    /// Notes a attempt_error of a try whose request is given up.
    pub fn blame(
        &mut self,
        now: Moment,
        queue: QueueId,
        endpoint: EndpointId,
        attempt_error: AttemptError,
    ) {
        self.with_worker(now, queue, endpoint, |worker| {
            worker.set_back(now, attempt_error)
        });
    }

    /// Takes a worker's heartbeat in and says what it shall do.
    pub fn beat(
        &mut self,
        now: Moment,
        beat: Heartbeat,
    ) -> Result<Option<Order>, HeartbeatRefused> {
        beat::check(&beat)?;
        let name = beat.worker.clone();
        match self.workers.get(&name) {
            Some(known) if known.beat.boot == beat.boot => {
                if beat.sequence <= known.beat.sequence {
                    return Ok(known.order());
                }
            }
            Some(known) if known.boot_before.as_ref() == Some(&beat.boot) => return Ok(None),
            Some(known) => {
                let boot_before = known.beat.boot.clone();
                self.retire(&name);
                self.welcome(now, beat.clone())?.boot_before = Some(boot_before);
            }
            None => {
                self.welcome(now, beat.clone())?;
            }
        }
        let Some(worker) = self.workers.get_mut(&name) else {
            return Ok(None);
        };
        worker.accept(now, beat);
        let (queue, endpoint, order) = (worker.queue, worker.endpoint, worker.order());
        self.update_endpoint(now, queue, endpoint, false);
        Ok(order)
    }

    /// Stops new hand-outs to a worker until it is undrained or boots again.
    pub fn drain(&mut self, now: Moment, worker: &str) -> Result<(), UnknownWorker> {
        self.order(now, worker, Worker::drain)
    }

    /// Takes a drain back.
    pub fn undrain(&mut self, now: Moment, worker: &str) -> Result<(), UnknownWorker> {
        self.order(now, worker, Worker::undrain)
    }

    /// Notices silence, ends pauses and forgets who is gone. To be called several times a
    /// second, with [`Registry::hand_out`] of every queue after it.
    pub fn refresh(&mut self, now: Moment) {
        let gap = now.saturating_sub(self.refreshed);
        self.refreshed = now;
        if gap > ASLEEP {
            self.workers
                .values_mut()
                .for_each(|worker| worker.answered(now));
        }
        let silence = self.config.silence;
        let silent = self
            .workers
            .values()
            .filter(|worker| worker.is_silent(now, silence));
        let most_vanished = silent.count() * 2 > self.workers.len();
        let endpoints: Vec<_> = (self.workers.values())
            .map(|worker| {
                let silent = worker.is_silent(now, silence) && !most_vanished;
                (worker.queue, worker.endpoint, silent)
            })
            .collect();
        for (queue, endpoint, silent) in endpoints {
            self.update_endpoint(now, queue, endpoint, silent);
        }
        self.forget(now, most_vanished);
    }

    /// Everything that was counted, as one snapshot.
    pub fn signal(&self, now: Moment, proxy: &str, epoch: &str) -> Signal {
        let models = self
            .queues
            .iter()
            .map(|(model, queue)| queue.signal(now, model));
        Signal {
            version: VERSION,
            proxy: proxy.to_owned(),
            epoch: epoch.to_owned(),
            now_ms: now.as_millis() as u64,
            models: models.collect(),
            workers: (self.workers.values())
                .map(|worker| {
                    let endpoints = self.queue(worker.queue).endpoints();
                    let taking = endpoints.is_taking(worker.endpoint);
                    worker.signal(now, taking, endpoints.permits(worker.endpoint))
                })
                .collect(),
        }
    }

    /// Requests in queue and in flight, over all models.
    pub fn unfinished(&self) -> usize {
        let queues = self.queues.iter();
        queues
            .map(|(_, queue)| queue.waiting() + queue.in_flight())
            .sum()
    }

    fn find_queue(&self, model: &str) -> Option<QueueId> {
        self.models().position(|known| known == model).map(QueueId)
    }

    fn queue(&self, queue: QueueId) -> &Queue {
        &self.queues[queue.0].1
    }

    fn line_mut(&mut self, queue: QueueId) -> &mut Queue {
        &mut self.queues[queue.0].1
    }

    fn welcome(&mut self, now: Moment, beat: Heartbeat) -> Result<&mut Worker, HeartbeatRefused> {
        let most = self.config.workers;
        if self.workers.len() >= most {
            return Err(HeartbeatRefused::TooManyWorkers { most });
        }
        let queue = self.find_queue(&beat.model).unwrap_or_else(|| {
            let queue = Queue::new(self.config.queue);
            self.queues.push((beat.model.clone(), queue));
            QueueId(self.queues.len() - 1)
        });
        let endpoint = self.line_mut(queue).endpoints_mut().add();
        let name = beat.worker.clone();
        self.names.insert((queue, endpoint), name.clone());
        let worker = Worker::new(now, beat, queue, endpoint);
        Ok(self.workers.entry(name).insert_entry(worker).into_mut())
    }

    /// Ends a boot of a worker; its endpoint stays until its permits are given back.
    fn retire(&mut self, name: &str) {
        if let Some(worker) = self.workers.remove(name) {
            self.names.remove(&(worker.queue, worker.endpoint));
            let endpoints = self.line_mut(worker.queue).endpoints_mut();
            endpoints.update(worker.endpoint, worker.beat.slots, 0, false);
            self.retired.push((worker.queue, worker.endpoint));
        }
    }

    /// A worker that holds permits is never forgotten: its drain must not look finished.
    fn forget(&mut self, now: Moment, most_vanished: bool) {
        let gone: Vec<String> = (self.workers.iter())
            .filter(|(_, worker)| worker.is_gone(now, most_vanished, &self.config))
            .filter(|(_, worker)| {
                self.queue(worker.queue)
                    .endpoints()
                    .permits(worker.endpoint)
                    == 0
            })
            .map(|(name, _)| name.clone())
            .collect();
        gone.iter().for_each(|name| self.retire(name));
        let queues = &mut self.queues;
        self.retired
            .retain(|(queue, endpoint)| !queues[queue.0].1.endpoints_mut().remove(*endpoint));
    }

    fn order(
        &mut self,
        now: Moment,
        name: &str,
        order: impl FnOnce(&mut Worker),
    ) -> Result<(), UnknownWorker> {
        let worker = self.workers.get_mut(name).ok_or(UnknownWorker)?;
        order(worker);
        let (queue, endpoint) = (worker.queue, worker.endpoint);
        self.update_endpoint(now, queue, endpoint, false);
        Ok(())
    }

    fn with_worker(
        &mut self,
        now: Moment,
        queue: QueueId,
        endpoint: EndpointId,
        change: impl FnOnce(&mut Worker),
    ) {
        let name = self.names.get(&(queue, endpoint));
        if let Some(worker) = name.and_then(|name| self.workers.get_mut(name)) {
            change(worker);
            self.update_endpoint(now, queue, endpoint, false);
        }
    }

    fn update_endpoint(&mut self, now: Moment, queue: QueueId, endpoint: EndpointId, silent: bool) {
        let name = self.names.get(&(queue, endpoint));
        if let Some(worker) = name.and_then(|name| self.workers.get(name)) {
            let (slots, elsewhere) = (worker.beat.slots, worker.elsewhere(now));
            let taking = worker.is_taking(now, silent);
            let endpoints = self.queues[queue.0].1.endpoints_mut();
            endpoints.update(endpoint, slots, elsewhere, taking);
        }
    }
}
