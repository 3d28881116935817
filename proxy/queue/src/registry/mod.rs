//! The queues of all models, and the workers as their heartbeats describe them.
//!
//! A worker exists here from its first heartbeat. It gets requests while its heartbeats arrive and say
//! that it is ready, it is not being drained, and its last attempt has not failed.

mod heartbeat;
mod queues;
mod worker;
mod workers;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::{Heartbeat, ModelSignal, Order, Signal, VERSION, WorkerState};

pub use self::heartbeat::{HeartbeatRefused, is_name};
use self::queues::{ModelQueue, Queues};
pub use self::queues::{NoSuchModel, QueueId};
use self::worker::Worker;
use self::workers::{WorkerKey, Workers};
use crate::{Ask, EndpointId, Grant, Moment, Outcome, QueueConfig, Refusal, Ticket, Usage};

/// An endpoint that refused as full is asked again after this, unless a heartbeat comes first.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// A gap between two refreshes that means that this process did not run, not that workers died.
const ASLEEP: Duration = Duration::from_secs(1);

/// What the proxy's config says of all its queues.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Models that are known before a worker announces them, so that requests can wait for it.
    pub models: Vec<String>,
    pub queue: Arc<QueueConfig>,
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
            queue: Arc::new(QueueConfig::default()),
            silence: Duration::from_millis(3500),
            forget_failed: Duration::from_secs(10),
            forget: Duration::from_secs(60),
            workers: 10_000,
        }
    }
}

/// No worker of this name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWorker;

/// A slot of a worker, handed to a request for one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub ticket: Ticket,
    pub endpoint: EndpointId,
    pub address: SocketAddr,
    /// As [`crate::Queue::hedge_after`].
    pub hedge_after: Option<Duration>,
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
    queues: Queues,
    workers: Workers,
    /// Queues of which an endpoint has changed since they were handed out.
    changed: BTreeSet<QueueId>,
    refreshed: Moment,
}

impl Registry {
    pub fn new(config: RegistryConfig) -> Self {
        let mut queues = Queues::default();
        for model in &config.models {
            queues.add_configured(&config.queue, model);
        }
        Registry {
            config,
            queues,
            workers: Workers::default(),
            changed: BTreeSet::new(),
            refreshed: Moment::ZERO,
        }
    }

    /// The models that have a queue, in the order they became known.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(|queue| &*queue.model)
    }

    /// The model of a queue that holds a request or was just found.
    pub fn model(&self, queue: QueueId) -> Option<Arc<str>> {
        self.queues.get(queue).map(|queue| Arc::clone(&queue.model))
    }

    /// The queue of the model that a request names; when it names none, of the only one, or of
    /// the only one that workers serve which are not leaving. It may be gone at the next change
    /// of the registry, unless a request is in it by then.
    pub fn queue_of(&self, model: Option<&str>) -> Result<QueueId, NoSuchModel> {
        self.queues.of_request(model)
    }

    /// As [`crate::Queue::arrive`]. A queue that is gone refuses like one without room.
    pub fn arrive(&mut self, now: Moment, queue: QueueId, ask: Ask) -> Result<Ticket, Refusal> {
        match self.queues.get_mut(queue) {
            Some(held) => held.queue.arrive(now, ask),
            None => Err(Refusal::Full {
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    /// As [`crate::Queue::hand_out`], with the address of the worker.
    pub fn hand_out(&mut self, now: Moment, queue: QueueId) -> Option<Placement> {
        let held = &mut self.queues.get_mut(queue)?.queue;
        let Grant { ticket, endpoint } = held.hand_out(now)?;
        let worker = self.workers.get((queue, endpoint))?;
        Some(Placement {
            ticket,
            endpoint,
            address: worker.said.address,
            hedge_after: held.hedge_after(ticket),
        })
    }

    /// A queue of which an endpoint has changed, to be handed out; each once.
    pub fn next_changed(&mut self) -> Option<QueueId> {
        self.changed.pop_first()
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
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.queue.end(now, ticket, outcome);
        }
        let Some(endpoint) = endpoint else {
            self.queues.remove_unneeded(queue);
            return;
        };
        if outcome == Outcome::Answered
            && let Some(worker) = self.workers.get_mut((queue, endpoint))
        {
            worker.answered(now);
            self.look_if_kept_out(now, (queue, endpoint));
        }
        self.clear(queue, endpoint);
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
        let Some(held) = self.queues.get_mut(queue) else {
            return false;
        };
        let is_back = match attempt_error {
            AttemptError::Died => held.queue.retry(ticket),
            _ => {
                held.queue.put_back(ticket);
                true
            }
        };
        self.clear(queue, endpoint);
        is_back
    }

    /// As [`crate::Queue::hedge`], with the address of the worker.
    pub fn hedge(&mut self, now: Moment, queue: QueueId, ticket: Ticket) -> Option<Placement> {
        let endpoint = self.queues.get_mut(queue)?.queue.hedge(now, ticket)?;
        let worker = self.workers.get((queue, endpoint))?;
        Some(Placement {
            ticket,
            endpoint,
            address: worker.said.address,
            hedge_after: None,
        })
    }

    /// As [`crate::Queue::abandon`].
    pub fn abandon(&mut self, now: Moment, queue: QueueId, ticket: Ticket, endpoint: EndpointId) {
        if let Some(held) = self.queues.get_mut(queue) {
            held.queue.abandon(now, ticket, endpoint);
        }
        self.clear(queue, endpoint);
    }

    /// Notes the error of a try whose request is given up.
    pub fn blame(
        &mut self,
        now: Moment,
        queue: QueueId,
        endpoint: EndpointId,
        attempt_error: AttemptError,
    ) {
        let key = (queue, endpoint);
        if let Some(worker) = self.workers.get_mut(key) {
            worker.set_back(now, attempt_error);
            self.update_endpoint(now, key);
            self.workers.schedule(now, key, &self.config);
        }
    }

    /// Takes a worker's heartbeat in and says what it shall do.
    pub fn heartbeat(
        &mut self,
        now: Moment,
        said: Heartbeat,
    ) -> Result<Option<Order>, HeartbeatRefused> {
        heartbeat::check(&said)?;
        let known = self.workers.find(&said.worker);
        let key = match known.and_then(|key| Some((key, self.workers.get(key)?))) {
            Some((key, known)) if known.said.boot == said.boot => {
                if said.sequence <= known.said.sequence {
                    return Ok(known.order());
                }
                heartbeat::check_same_model(&known.said, &said)?;
                key
            }
            Some((_, known)) if known.boot_before.as_ref() == Some(&said.boot) => return Ok(None),
            Some((key, known)) => {
                let boot_before = known.said.boot.clone();
                self.retire(key);
                self.welcome(now, said.clone(), Some(boot_before))?
            }
            None => self.welcome(now, said.clone(), None)?,
        };
        self.accept(now, key, said);
        Ok(self.workers.get(key).and_then(Worker::order))
    }

    fn accept(&mut self, now: Moment, key: WorkerKey, said: Heartbeat) {
        if let Some(worker) = self.workers.get_mut(key) {
            let stayed = worker.said.state != WorkerState::Draining;
            let stays = said.state != WorkerState::Draining;
            worker.accept(now, said);
            if let Some(queue) = self.queues.get_mut(key.0) {
                queue.staying = queue.staying + usize::from(stays) - usize::from(stayed);
            }
        }
        self.workers.listen(now, key, &self.config);
        self.update_endpoint(now, key);
        self.workers.schedule(now, key, &self.config);
        self.judge_silence(now);
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
    /// second, with [`Registry::hand_out`] of every changed queue after it.
    pub fn refresh(&mut self, now: Moment) {
        let gap = now.saturating_sub(self.refreshed);
        self.refreshed = now;
        if gap > ASLEEP {
            for key in self.workers.keys() {
                if let Some(worker) = self.workers.get_mut(key) {
                    worker.answered(now);
                }
                self.look_if_kept_out(now, key);
            }
        }
        while let Some(key) = self.workers.next_due(now) {
            self.look_at(now, key);
            self.judge_silence(now);
        }
    }

    /// Everything that was counted, as one snapshot.
    pub fn signal(&self, now: Moment, proxy: &str, epoch: &str) -> Signal {
        Signal {
            version: VERSION,
            proxy: proxy.to_owned(),
            epoch: epoch.to_owned(),
            now_ms: now.as_millis() as u64,
            models: (self.queues.iter())
                .map(|queue| ModelSignal {
                    began_ms: queue.began.as_millis() as u64,
                    ..queue.queue.signal(now, &queue.model)
                })
                .collect(),
            workers: (self.workers.iter())
                .filter_map(|((queue, endpoint), worker)| {
                    let endpoints = self.queues.get(queue)?.queue.endpoints();
                    let taking = endpoints.is_taking(endpoint);
                    Some(worker.signal(now, taking, endpoints.permits(endpoint)))
                })
                .collect(),
        }
    }

    /// Requests in queue and in flight, over all models.
    pub fn unfinished(&self) -> usize {
        let queues = self.queues.iter();
        let unfinished = |held: &ModelQueue| held.queue.waiting() + held.queue.in_flight();
        queues.map(unfinished).sum()
    }

    fn welcome(
        &mut self,
        now: Moment,
        said: Heartbeat,
        boot_before: Option<String>,
    ) -> Result<WorkerKey, HeartbeatRefused> {
        let most = self.config.workers;
        if self.workers.len() >= most {
            return Err(HeartbeatRefused::TooManyWorkers { most });
        }
        let id = self
            .queues
            .find_or_add(now, &self.config.queue, &said.model);
        let Some(queue) = self.queues.get_mut(id) else {
            return Err(HeartbeatRefused::BadName { field: "model" });
        };
        let key = (id, queue.queue.endpoints_mut().add());
        queue.workers += 1;
        queue.staying += usize::from(said.state != WorkerState::Draining);
        self.workers
            .insert(key, Worker::new(now, said, boot_before));
        Ok(key)
    }

    /// Looks at a worker of which something may have changed by itself.
    fn look_at(&mut self, now: Moment, key: WorkerKey) {
        self.workers.listen(now, key, &self.config);
        let Some(worker) = self.workers.get(key) else {
            return;
        };
        let permits =
            (self.queues.get(key.0)).map_or(0, |queue| queue.queue.endpoints().permits(key.1));
        // A worker that holds permits is never forgotten: its drain must not look finished.
        if permits == 0 && worker.is_gone(now, self.workers.most_vanished, &self.config) {
            self.retire(key);
            return;
        }
        self.update_endpoint(now, key);
        self.workers.schedule(now, key, &self.config);
    }

    /// After a sign of life of a worker that may have been silent.
    fn look_if_kept_out(&mut self, now: Moment, key: WorkerKey) {
        if self.workers.is_silent(key) {
            self.look_at(now, key);
            self.judge_silence(now);
        }
    }

    /// When most workers fall silent together none is kept out or forgotten for it.
    fn judge_silence(&mut self, now: Moment) {
        for key in self.workers.judge_silence() {
            self.look_at(now, key);
        }
    }

    /// Ends a boot of a worker; its endpoint stays until its permits are given back.
    fn retire(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.remove(key) else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(key.0) {
            queue.workers -= 1;
            queue.staying -= usize::from(worker.said.state != WorkerState::Draining);
            let endpoints = queue.queue.endpoints_mut();
            endpoints.update(key.1, worker.capacity(), Usage::default(), false);
        }
        self.clear(key.0, key.1);
    }

    /// Removes an endpoint that belongs to no worker any more and holds no permit, and its queue
    /// if nobody needs it.
    fn clear(&mut self, queue: QueueId, endpoint: EndpointId) {
        if self.workers.get((queue, endpoint)).is_some() {
            return;
        }
        if let Some(held) = self.queues.get_mut(queue) {
            held.queue.endpoints_mut().remove(endpoint);
        }
        self.queues.remove_unneeded(queue);
    }

    fn order(
        &mut self,
        now: Moment,
        name: &str,
        order: impl FnOnce(&mut Worker),
    ) -> Result<(), UnknownWorker> {
        let key = self.workers.find(name).ok_or(UnknownWorker)?;
        let worker = self.workers.get_mut(key).ok_or(UnknownWorker)?;
        order(worker);
        self.update_endpoint(now, key);
        self.workers.schedule(now, key, &self.config);
        Ok(())
    }

    fn update_endpoint(&mut self, now: Moment, key: WorkerKey) {
        let is_kept_out = self.workers.is_kept_out(key);
        let (Some(worker), Some(queue)) = (self.workers.get(key), self.queues.get_mut(key.0))
        else {
            return;
        };
        let (capacity, elsewhere) = (worker.capacity(), worker.elsewhere(now));
        let taking = worker.is_taking(now, is_kept_out);
        let endpoints = queue.queue.endpoints_mut();
        if endpoints.update(key.1, capacity, elsewhere, taking) {
            self.changed.insert(key.0);
        }
    }
}
