//! One model's requests, from arrival to end.
//!
//! A request either waits for its turn or holds the permit of its current attempt, never both; a second
//! attempt may run beside one that takes long.
//! Requests are ordered by class and then by arrival: after a failed attempt a request keeps its ticket,
//! and so is at the head of its class again.

mod admission;
mod hedge;
mod order;
mod signal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ages::Ages;
use crate::endpoint::Choice;
use crate::estimate::ServiceTime;
use crate::queue::order::ClassQueue;
use crate::retry::RetryBudget;
use crate::{Class, ClassConfig, EndpointId, Endpoints, Moment, RetryConfig};

/// What a queue holds at most, by class, and how often it tries again.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// In the order in which they are served; at least one.
    pub classes: Vec<ClassConfig>,
    pub retry: RetryConfig,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            classes: vec![ClassConfig::default()],
            retry: RetryConfig::default(),
        }
    }
}

impl QueueConfig {
    /// The class of this name.
    pub fn class(&self, name: &str) -> Option<Class> {
        let index = self.classes.iter().position(|class| *class.name == *name)?;
        u8::try_from(index).ok().map(Class)
    }
}

/// A request that asks for a permit.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// When the request began to arrive; its age counts from here.
    pub arrived: Moment,
    /// When its client stops waiting.
    pub deadline: Moment,
    /// Size of the body that is held while it waits.
    pub bytes: u64,
    /// What it takes of a worker's capacity beside a slot.
    pub cost: u64,
    pub class: Class,
    /// Whether it may be computed twice.
    pub idempotent: bool,
}

impl Ask {
    /// A request of cost 1 in the first class, without a body.
    pub fn new(arrived: Moment, deadline: Moment) -> Self {
        Ask {
            arrived,
            deadline,
            bytes: 0,
            cost: 1,
            class: Class::default(),
            idempotent: false,
        }
    }
}

/// Names a request in its queue; smaller is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// A slot of an endpoint, handed to a request for one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub ticket: Ticket,
    pub endpoint: EndpointId,
}

/// Why a request was not let in. `retry_after` is when one like it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue holds its most requests or bytes of this class.
    Full { retry_after: Duration },
    /// By the estimate its turn and its service come after its deadline.
    TooLate { retry_after: Duration },
}

/// How a request that was let in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its worker's answer was passed on whole, whatever its status.
    Answered,
    /// It was given up after its tries, or its answer was cut.
    Failed,
    /// Its deadline came while it waited.
    Expired,
    /// Its client left.
    Aborted,
}

#[derive(Clone, Debug)]
struct Request {
    ask: Ask,
    permit: Option<Permit>,
    /// Of a second try beside the first.
    second: Option<Permit>,
    was_granted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Permit {
    endpoint: EndpointId,
    since: Moment,
}

/// The queue of one model, its workers' endpoints, and its counts.
#[derive(Clone, Debug)]
pub struct Queue {
    config: Arc<QueueConfig>,
    endpoints: Endpoints,
    requests: BTreeMap<Ticket, Request>,
    /// As in the config.
    classes: Vec<ClassQueue>,
    waiting: usize,
    last_ticket: u64,
    /// Since when permits are held.
    running: Ages,
    service: ServiceTime,
    retries: RetryBudget,
}

impl Queue {
    pub fn new(config: impl Into<Arc<QueueConfig>>) -> Self {
        let config = config.into();
        Queue {
            endpoints: Endpoints::default(),
            requests: BTreeMap::new(),
            classes: vec![ClassQueue::default(); config.classes.len()],
            waiting: 0,
            last_ticket: 0,
            running: Ages::default(),
            service: ServiceTime::default(),
            retries: RetryBudget::new(config.retry),
            config,
        }
    }

    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub fn endpoints_mut(&mut self) -> &mut Endpoints {
        &mut self.endpoints
    }

    /// Puts a new request in queue. It may be first in it: call [`Queue::hand_out`] next.
    pub fn arrive(&mut self, now: Moment, mut ask: Ask) -> Result<Ticket, Refusal> {
        // A class that the config does not have is the last one.
        let last = self.classes.len().saturating_sub(1);
        ask.class = Class(ask.class.index().min(last) as u8);
        self.classes[ask.class.index()].record.arrived();
        self.retries.earn();
        if let Some(refusal) = self.refusal(now, &ask) {
            let record = &mut self.classes[ask.class.index()].record;
            record.shed(now.saturating_sub(ask.arrived));
            return Err(refusal);
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let request = Request {
            ask,
            permit: None,
            second: None,
            was_granted: false,
        };
        self.requests.insert(ticket, request);
        self.enter(ticket, &ask);
        Ok(ticket)
    }

    /// Hands a free slot to the request that is next: one of the least busy worker, or none while
    /// the only free ones are of workers so slow that waiting for another is better. To be called
    /// until it answers `None` after whatever may have freed a slot or brought a waiter.
    pub fn hand_out(&mut self, now: Moment) -> Option<Grant> {
        if self.waiting == 0 || self.endpoints.free_slots() == 0 {
            return None;
        }
        let class = self.next_class(now)?;
        let ticket = self.classes[class].first()?;
        let cost = self.requests.get(&ticket)?.ask.cost;
        match self.endpoints.choose(cost)? {
            Choice::Take(endpoint) => self.grant(now, ticket, endpoint),
            Choice::Behind {
                after,
                endpoint,
                service,
            } => {
                let ticket = self.at_place(after)?;
                let ask = self.requests.get(&ticket)?.ask;
                let is_worth_it = now + service <= ask.deadline;
                let fits = is_worth_it && self.endpoints.fits(endpoint, ask.cost);
                fits.then(|| self.grant(now, ticket, endpoint))?
            }
        }
    }

    fn grant(&mut self, now: Moment, ticket: Ticket, endpoint: EndpointId) -> Option<Grant> {
        let request = self.requests.get_mut(&ticket)?;
        request.permit = Some(Permit {
            endpoint,
            since: now,
        });
        let ask = request.ask;
        let class = &mut self.classes[ask.class.index()];
        if !std::mem::replace(&mut request.was_granted, true) {
            class.record.waited(now.saturating_sub(ask.arrived));
        }
        class.take(now);
        class.owed = class.owed.saturating_sub(1);
        self.running.insert(now);
        self.leave(ticket, &ask);
        self.endpoints.take(endpoint, ask.cost);
        self.share_out(now, &ask);
        Some(Grant { ticket, endpoint })
    }

    /// Takes a try's permit away and puts the request back at the head of its class, outside the
    /// retry budget: its worker did not begin to work on it.
    pub fn put_back(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get_mut(&ticket) else {
            return;
        };
        let Some(permit) = request.permit.take() else {
            return;
        };
        let ask = request.ask;
        self.give_back(permit, &ask);
        self.enter(ticket, &ask);
    }

    /// As [`Queue::put_back`], for a try that a worker may have begun. `false` when the retry
    /// budget is spent: the request keeps its permit and is to be ended as failed.
    pub fn retry(&mut self, ticket: Ticket) -> bool {
        let affordable = self.retries.spend();
        if affordable {
            if let Some(request) = self.requests.get(&ticket) {
                let class = request.ask.class.index();
                self.classes[class].record.retried();
            }
            self.put_back(ticket);
        }
        affordable
    }

    /// Ends a request, wherever it stands, and gives back exactly what it holds. Ending it
    /// twice does nothing.
    pub fn end(&mut self, now: Moment, ticket: Ticket, outcome: Outcome) {
        let Some(request) = self.requests.remove(&ticket) else {
            return;
        };
        let ask = request.ask;
        let age = now.saturating_sub(ask.arrived);
        if let Some(second) = request.second {
            self.give_back(second, &ask);
        }
        match request.permit {
            Some(permit) => {
                self.give_back(permit, &ask);
                if outcome == Outcome::Answered {
                    let service = now.saturating_sub(permit.since);
                    self.endpoints.learn(permit.endpoint, service);
                    self.served(&ask, service);
                }
            }
            None => self.leave(ticket, &ask),
        }
        let record = &mut self.classes[ask.class.index()].record;
        if !request.was_granted {
            record.waited(age);
        }
        record.ended(outcome, age);
    }

    /// Requests in queue.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Requests that hold a permit.
    pub fn in_flight(&self) -> usize {
        self.requests.len() - self.waiting
    }

    fn enter(&mut self, ticket: Ticket, ask: &Ask) {
        self.classes[ask.class.index()].enter(ticket, ask);
        self.waiting += 1;
    }

    fn leave(&mut self, ticket: Ticket, ask: &Ask) {
        self.classes[ask.class.index()].leave(ticket, ask);
        self.waiting -= 1;
    }

    fn give_back(&mut self, permit: Permit, ask: &Ask) {
        self.endpoints.give_back(permit.endpoint, ask.cost);
        self.running.remove(permit.since);
        self.classes[ask.class.index()].give_back(permit.since);
    }

    fn served(&mut self, ask: &Ask, service: Duration) {
        self.service.record(service);
        let class = &mut self.classes[ask.class.index()];
        class.service.record(service);
        class.record.served(service, ask.cost);
    }
}
