//! One model's requests, from arrival to end.
//!
//! A request either waits for its turn or holds one permit for its current try, never both.
//! Requests are ordered by arrival: one that comes back from a failed try keeps its ticket and
//! so stands at the head again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_protocol::ModelSignal;

use crate::ages::Ages;
use crate::estimate::{self, ServiceTime};
use crate::record::Record;
use crate::retry::RetryBudget;
use crate::{EndpointId, Endpoints, Moment, RetryConfig};

/// What a queue holds at most.
#[derive(Clone, Copy, Debug)]
pub struct QueueConfig {
    /// Requests in queue.
    pub waiting: usize,
    /// Bytes of their bodies.
    pub waiting_bytes: u64,
    /// What a refused request is told to wait when nothing is known of the workers' speed.
    pub retry_after: Duration,
    pub retry: RetryConfig,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            waiting: 1024,
            waiting_bytes: 256 << 20,
            retry_after: Duration::from_secs(5),
            retry: RetryConfig::default(),
        }
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
    /// The queue holds its most requests or bytes.
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
    config: QueueConfig,
    endpoints: Endpoints,
    requests: BTreeMap<Ticket, Request>,
    waiting: BTreeSet<Ticket>,
    waiting_bytes: u64,
    last_ticket: u64,
    /// Since when permits are held.
    running: Ages,
    /// Refused requests that are expected back, each before those refused later.
    owed: u64,
    service: ServiceTime,
    retries: RetryBudget,
    record: Record,
}

impl Queue {
    pub fn new(config: QueueConfig) -> Self {
        Queue {
            config,
            endpoints: Endpoints::default(),
            requests: BTreeMap::new(),
            waiting: BTreeSet::new(),
            waiting_bytes: 0,
            last_ticket: 0,
            running: Ages::default(),
            owed: 0,
            service: ServiceTime::default(),
            retries: RetryBudget::new(config.retry),
            record: Record::default(),
        }
    }

    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub fn endpoints_mut(&mut self) -> &mut Endpoints {
        &mut self.endpoints
    }

    /// Puts a new request in queue. It may be first in it: call [`Queue::hand_out`] next.
    pub fn arrive(&mut self, now: Moment, ask: Ask) -> Result<Ticket, Refusal> {
        self.record.arrived();
        self.retries.earn();
        if let Some(refusal) = self.refusal(now, &ask) {
            self.record.shed(now.saturating_sub(ask.arrived));
            return Err(refusal);
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let request = Request {
            ask,
            permit: None,
            was_granted: false,
        };
        self.requests.insert(ticket, request);
        self.enter(ticket, ask.bytes);
        Ok(ticket)
    }

    /// Hands a free slot of the least busy worker to the oldest waiter. To be called until it
    /// answers `None` after whatever may have freed a slot or brought a waiter.
    pub fn hand_out(&mut self, now: Moment) -> Option<Grant> {
        let ticket = *self.waiting.first()?;
        let endpoint = self.endpoints.least_busy()?;
        let request = self.requests.get_mut(&ticket)?;
        request.permit = Some(Permit {
            endpoint,
            since: now,
        });
        self.running.insert(now);
        let bytes = request.ask.bytes;
        if !request.was_granted {
            request.was_granted = true;
            self.record.waited(now.saturating_sub(request.ask.arrived));
        }
        self.leave(ticket, bytes);
        self.endpoints.take(endpoint);
        self.owed = self.owed.saturating_sub(1);
        Some(Grant { ticket, endpoint })
    }

    /// Takes a try's permit away and puts the request back at the head of the queue, outside the
    /// retry budget: its worker did not begin to work on it.
    pub fn put_back(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.get_mut(&ticket) else {
            return;
        };
        let Some(permit) = request.permit.take() else {
            return;
        };
        let bytes = request.ask.bytes;
        self.give_back(permit);
        self.enter(ticket, bytes);
    }

    /// As [`Queue::put_back`], for a try that a worker may have begun. `false` when the retry
    /// budget is spent: the request keeps its permit and is to be ended as failed.
    pub fn retry(&mut self, ticket: Ticket) -> bool {
        let affordable = self.retries.spend();
        if affordable {
            self.record.retried();
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
        let age = now.saturating_sub(request.ask.arrived);
        match request.permit {
            Some(permit) => {
                self.give_back(permit);
                if outcome == Outcome::Answered {
                    let service = now.saturating_sub(permit.since);
                    self.record.served(service);
                    self.service.record(service);
                }
            }
            None => self.leave(ticket, request.ask.bytes),
        }
        if !request.was_granted {
            self.record.waited(age);
        }
        self.record.ended(outcome, age);
    }

    /// Requests in queue.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Permits held.
    pub fn in_flight(&self) -> usize {
        self.requests.len() - self.waiting.len()
    }

    /// The counters of this queue and its gauges at `now`.
    pub fn signal(&self, now: Moment, model: &str) -> ModelSignal {
        let age_ms = |since: Moment| now.saturating_sub(since).as_millis() as u64;
        let oldest = self
            .waiting
            .first()
            .and_then(|ticket| self.requests.get(ticket));
        let oldest_running = self.running.oldest();
        ModelSignal {
            waiting: self.waiting() as u64,
            waiting_bytes: self.waiting_bytes,
            in_flight: self.in_flight() as u64,
            oldest_waiting_ms: oldest.map(|request| age_ms(request.ask.arrived)),
            oldest_running_ms: oldest_running.map(age_ms),
            ..self.record.signal(model)
        }
    }

    fn enter(&mut self, ticket: Ticket, bytes: u64) {
        self.waiting.insert(ticket);
        self.waiting_bytes += bytes;
    }

    fn leave(&mut self, ticket: Ticket, bytes: u64) {
        self.waiting.remove(&ticket);
        self.waiting_bytes -= bytes;
    }

    fn give_back(&mut self, permit: Permit) {
        self.endpoints.give_back(permit.endpoint);
        self.running.remove(permit.since);
    }

    fn refusal(&mut self, now: Moment, ask: &Ask) -> Option<Refusal> {
        if self.waiting.is_empty() && self.endpoints.least_busy().is_some() {
            return None;
        }
        let full = self.waiting.len() >= self.config.waiting
            || self.waiting_bytes.saturating_add(ask.bytes) > self.config.waiting_bytes;
        if full {
            return Some(self.refuse_full(now));
        }
        self.lateness(now, ask).map(|lateness| Refusal::TooLate {
            retry_after: lateness,
        })
    }

    /// When the place comes free that this refused request can have, after those refused
    /// before it.
    fn refuse_full(&mut self, now: Moment) -> Refusal {
        let place = self.owed;
        self.owed = (self.owed + 1).min(self.config.waiting as u64);
        let retry_after = self.until_served(now, place);
        Refusal::Full {
            retry_after: retry_after.unwrap_or(self.config.retry_after),
        }
    }

    /// By how much the answer to a request that enters now would miss its deadline; `None` when
    /// it would not, or nothing is known to estimate it by.
    fn lateness(&self, now: Moment, ask: &Ask) -> Option<Duration> {
        let mean = self.service.mean()?;
        let left = ask.deadline.saturating_sub(now);
        let place = self.waiting.len() as u64;
        let slots = self.endpoints.taking_slots();
        if slots == 0 || estimate::at_most(place, slots, mean) + mean <= left {
            return None;
        }
        let answered = self.until_served(now, place)? + mean;
        answered.checked_sub(left).filter(|late| !late.is_zero())
    }

    /// Time until departure `place` from now; `None` when no worker takes requests or none has
    /// answered yet.
    fn until_served(&self, now: Moment, place: u64) -> Option<Duration> {
        let mean = self.service.mean()?;
        let slots = self.endpoints.taking_slots();
        let age = |nth| Some(now.saturating_sub(self.running.nth_oldest(nth)?));
        (slots > 0).then(|| estimate::until_departure(place, slots, mean, age))
    }
}
