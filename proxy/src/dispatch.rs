//! The registry under a lock, driven by requests: each gets a [`Place`], which returns exactly what it
//! holds when it is dropped, at any point.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use tidegate_http::RequestId;
use tidegate_queue::{
    Ask, AttemptError, Moment, NoSuchModel, Outcome, Placement, QueueId, Refusal, Registry,
    RegistryConfig, Ticket,
};
use tokio::sync::oneshot;

use crate::access::AccessLog;
use crate::metrics::{self, Labels};

/// How often it is looked whether a worker fell silent or a pause ended.
const REFRESH: Duration = Duration::from_millis(20);

/// Hands free slots to waiting requests. Cloned by reference; one for the process.
pub struct Dispatcher {
    began: Instant,
    /// Names of the classes, in their order.
    classes: Vec<Arc<str>>,
    access: Option<AccessLog>,
    state: Mutex<State>,
}

struct State {
    registry: Registry,
    waiters: BTreeMap<(QueueId, Ticket), oneshot::Sender<Placement>>,
}

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEntered {
    NoSuchModel(NoSuchModel),
    Refused(Refusal),
}

impl Dispatcher {
    pub fn new(config: RegistryConfig, access: Option<AccessLog>) -> Arc<Self> {
        let classes = config.queue.classes.iter();
        Arc::new(Dispatcher {
            began: Instant::now(),
            classes: classes.map(|class| Arc::clone(&class.name)).collect(),
            access,
            state: Mutex::new(State {
                registry: Registry::new(config),
                waiters: BTreeMap::new(),
            }),
        })
    }

    /// Time since this process began, which is the origin of every moment.
    pub fn now(&self) -> Moment {
        self.began.elapsed()
    }

    /// Looks at the registry without changing it.
    pub fn read<T>(&self, look: impl FnOnce(&Registry) -> T) -> T {
        look(&self.lock().registry)
    }

    /// Changes the registry and hands out whatever the change made free.
    pub fn change<T>(&self, change: impl FnOnce(&mut Registry, Moment) -> T) -> T {
        let mut state = self.lock();
        let now = self.now();
        let result = change(&mut state.registry, now);
        while let Some(queue) = state.registry.next_changed() {
            state.hand_out(now, queue);
        }
        result
    }

    /// Puts a request in the queue of the model that it names. It leaves when its place is
    /// dropped.
    pub fn enter(
        self: &Arc<Self>,
        model: Option<&str>,
        ask: Ask,
        id: &RequestId,
    ) -> Result<Place, NotEntered> {
        let mut state = self.lock();
        let now = self.now();
        let queue = (state.registry.queue_of(model)).map_err(NotEntered::NoSuchModel)?;
        let labels = Labels {
            model: state.registry.model(queue).unwrap_or_default(),
            class: self.class_name(&ask),
        };
        let ticket = state.registry.arrive(now, queue, ask);
        let ticket = ticket.map_err(|refusal| {
            self.note(&labels.model, now.saturating_sub(ask.arrived), "shed", id);
            NotEntered::Refused(refusal)
        })?;
        let turn = state.wait(queue, ticket);
        state.hand_out(now, queue);
        Ok(Place {
            dispatcher: Arc::clone(self),
            queue,
            labels,
            ticket,
            ask,
            id: id.clone(),
            turn,
            held: None,
            second: None,
            had_turn: false,
            outcome: Outcome::Aborted,
        })
    }

    /// Watches for silent workers and pauses that end, for as long as the process lives.
    pub async fn keep_fresh(&self) {
        let mut interval = tokio::time::interval(REFRESH);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.change(|registry, now| registry.refresh(now));
        }
    }

    fn class_name(&self, ask: &Ask) -> Arc<str> {
        let name = self.classes.get(ask.class.index());
        name.map(Arc::clone).unwrap_or_default()
    }

    fn note(&self, model: &str, took: Duration, outcome: &'static str, id: &RequestId) {
        if let Some(access) = &self.access {
            access.note(model, took, outcome, id);
        }
    }

    /// Notes a request that was answered without entering a queue.
    pub fn note_unqueued(&self, took: Duration, status: StatusCode, id: &RequestId) {
        let refused = status.is_client_error() || status.is_server_error();
        let outcome = if refused { "refused" } else { "served" };
        self.note("", took, outcome, id);
    }

    /// Brings what was noted of requests to the disk.
    pub fn flush(&self) {
        if let Some(access) = &self.access {
            access.flush();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, queue: QueueId, ticket: Ticket) -> oneshot::Receiver<Placement> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.insert((queue, ticket), sender);
        receiver
    }

    /// A waiter that is gone by now frees its slot by the drop of its [`Place`].
    fn hand_out(&mut self, now: Moment, queue: QueueId) {
        while let Some(placement) = self.registry.hand_out(now, queue) {
            if let Some(waiter) = self.waiters.remove(&(queue, placement.ticket)) {
                let _ = waiter.send(placement);
            }
        }
    }
}

/// A request's place: in queue, or with the permit of its current try.
pub struct Place {
    dispatcher: Arc<Dispatcher>,
    queue: QueueId,
    labels: Labels,
    ticket: Ticket,
    ask: Ask,
    id: RequestId,
    turn: oneshot::Receiver<Placement>,
    held: Option<Placement>,
    /// Of a second try beside the first.
    second: Option<Placement>,
    had_turn: bool,
    outcome: Outcome,
}

impl Place {
    /// Waits for a permit and says where it is valid. May be dropped and called again.
    pub async fn turn(&mut self) -> Placement {
        if let Some(placement) = self.held {
            return placement;
        }
        match (&mut self.turn).await {
            Ok(placement) => {
                if !std::mem::replace(&mut self.had_turn, true) {
                    let wait = self.dispatcher.now().saturating_sub(self.ask.arrived);
                    metrics::request_waited(&self.labels, wait);
                }
                *self.held.insert(placement)
            }
            // The sender is dropped with this place alone.
            Err(_) => std::future::pending().await,
        }
    }

    /// A permit for a second try beside the first, if a worker is idle.
    pub fn hedge(&mut self) -> Option<Placement> {
        let (queue, ticket) = (self.queue, self.ticket);
        let mut state = self.dispatcher.lock();
        let now = self.dispatcher.now();
        self.second = state.registry.hedge(now, queue, ticket);
        self.second
    }

    /// Gives one of two tries up, and what it held.
    pub fn abandon(&mut self, given_up: Placement) {
        let (queue, ticket) = (self.queue, self.ticket);
        if self.held == Some(given_up) {
            self.held = self.second;
        }
        self.second = None;
        let mut state = self.dispatcher.lock();
        let now = self.dispatcher.now();
        (state.registry).abandon(now, queue, ticket, given_up.endpoint);
        state.hand_out(now, queue);
    }

    pub fn model(&self) -> &str {
        &self.labels.model
    }

    pub fn class(&self) -> &str {
        &self.labels.class
    }

    /// Time that the client still waits.
    pub fn left(&self) -> Duration {
        self.ask.deadline.saturating_sub(self.dispatcher.now())
    }

    /// Gives a failed try's permit back and stands at the head of the queue again. `false` when
    /// the retry budget is spent.
    pub fn set_back(&mut self, attempt_error: AttemptError) -> bool {
        let Some(placement) = self.held.take() else {
            return true;
        };
        let mut state = self.dispatcher.lock();
        let now = self.dispatcher.now();
        let (ticket, endpoint) = (self.ticket, placement.endpoint);
        let in_queue = state
            .registry
            .set_back(now, self.queue, ticket, endpoint, attempt_error);
        if in_queue {
            self.turn = state.wait(self.queue, self.ticket);
        }
        state.hand_out(now, self.queue);
        in_queue
    }

    /// Notes the error that was one too many; the request keeps its permit until it leaves.
    pub fn blame(&self, attempt_error: AttemptError) {
        if let Some(placement) = &self.held {
            self.blame_for(placement, attempt_error);
        }
    }

    /// Notes the error of one of two tries.
    pub fn blame_for(&self, placement: &Placement, attempt_error: AttemptError) {
        let (queue, endpoint) = (self.queue, placement.endpoint);
        self.dispatcher
            .change(|registry, now| registry.blame(now, queue, endpoint, attempt_error));
    }

    /// Leaves; the permit, if one is held, is free from now on.
    pub fn leave(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(second) = self.second {
            self.abandon(second);
        }
        let mut state = self.dispatcher.lock();
        let now = self.dispatcher.now();
        let (queue, ticket, outcome) = (self.queue, self.ticket, self.outcome);
        state.waiters.remove(&(queue, ticket));
        let endpoint = self.held.as_ref().map(|placement| placement.endpoint);
        state.registry.end(now, queue, ticket, endpoint, outcome);
        state.hand_out(now, queue);
        drop(state);
        let took = now.saturating_sub(self.ask.arrived);
        metrics::request_ended(&self.labels, took);
        self.dispatcher
            .note(&self.labels.model, took, name(outcome), &self.id);
    }
}

/// As the metrics name it.
fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Failed => "failed",
        Outcome::Expired => "expired",
        Outcome::Aborted => "aborted",
    }
}
