//! The workers of one model: their capacity, and which of them takes the next request.

mod slow;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::slow::Choice;
use self::slow::Slow;
use crate::speed::Speed;

/// One boot of one worker. Never used again, so a worker that restarts gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub(crate) u64);

/// What a worker takes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Requests.
    pub slots: u32,
    /// The costs of its requests, added up; `None` where requests alone are counted.
    pub tokens: Option<u64>,
}

impl Capacity {
    /// A worker that counts requests alone.
    pub fn of_slots(slots: u32) -> Self {
        Capacity {
            slots,
            tokens: None,
        }
    }
}

/// What of a capacity is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub requests: u32,
    pub tokens: u64,
}

impl Usage {
    pub fn of_requests(requests: u32) -> Self {
        Usage {
            requests,
            tokens: 0,
        }
    }
}

/// How full an endpoint is: requests per slot in millionths, so that endpoints of different sizes
/// compare.
type Load = u64;

#[derive(Clone, Debug)]
struct Endpoint {
    capacity: Capacity,
    permits: Usage,
    elsewhere: Usage,
    taking: bool,
    speed: Speed,
    /// How many times slower than the fast ones it is.
    slowness: f64,
}

impl Default for Endpoint {
    fn default() -> Self {
        Endpoint {
            capacity: Capacity::default(),
            permits: Usage::default(),
            elsewhere: Usage::default(),
            taking: false,
            speed: Speed::default(),
            slowness: 1.0,
        }
    }
}

impl Endpoint {
    fn used(&self) -> u32 {
        self.permits
            .requests
            .saturating_add(self.elsewhere.requests)
    }

    fn is_slow(&self) -> bool {
        self.slowness > 1.0
    }

    /// A slow endpoint counts as fuller by the time that its requests hold its slots, the next one
    /// included.
    fn load(&self) -> Load {
        let slots = u64::from(self.capacity.slots.max(1));
        match self.is_slow() {
            false => u64::from(self.used()) * 1_000_000 / slots,
            true => {
                let held = self.slowness * (f64::from(self.used()) + 1.0) - 1.0;
                (held * 1e6 / slots as f64) as u64
            }
        }
    }

    fn free_slots(&self) -> u32 {
        match self.taking {
            true => self.capacity.slots.saturating_sub(self.used()),
            false => 0,
        }
    }

    /// Whether a request of this cost fits. One that costs more than the whole capacity is taken
    /// by an endpoint that holds nothing else.
    fn fits(&self, cost: u64) -> bool {
        let Some(limit) = self.capacity.tokens else {
            return true;
        };
        let held = self.permits.tokens.saturating_add(self.elsewhere.tokens);
        held == 0 || held.saturating_add(cost) <= limit
    }
}

/// All endpoints of one model, with those that have a free slot in order of load.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    free: BTreeSet<(Load, EndpointId)>,
    taking_slots: u64,
    free_slots: u64,
    /// Slots of those that take requests and are not slow.
    fast_slots: u64,
    slow: Slow,
    last: u64,
}

impl Endpoints {
    /// Adds an endpoint that takes nothing until [`Endpoints::update`] says so.
    pub fn add(&mut self) -> EndpointId {
        self.last += 1;
        self.endpoints
            .insert(EndpointId(self.last), Endpoint::default());
        EndpointId(self.last)
    }

    /// Sets what the worker announced: its capacity, how much of it others hold, and whether it
    /// may be handed requests. Says whether anything changed; nothing does for an endpoint that was
    /// removed.
    pub fn update(
        &mut self,
        id: EndpointId,
        capacity: Capacity,
        elsewhere: Usage,
        taking: bool,
    ) -> bool {
        let same = |endpoint: &Endpoint| {
            (endpoint.capacity, endpoint.elsewhere, endpoint.taking)
                == (capacity, elsewhere, taking)
        };
        if self.endpoints.get(&id).is_none_or(same) {
            return false;
        }
        self.change(id, |endpoint| {
            endpoint.capacity = capacity;
            endpoint.elsewhere = elsewhere;
            endpoint.taking = taking;
        });
        true
    }

    /// Removes an endpoint that holds no permit; says whether it did.
    pub fn remove(&mut self, id: EndpointId) -> bool {
        if self.permits(id) > 0 {
            return false;
        }
        self.change(id, |endpoint| endpoint.taking = false);
        self.slow.ids.remove(&id);
        self.endpoints.remove(&id).is_some()
    }

    /// The least busy endpoint with a free slot that a request of this cost fits, the one added
    /// first among equals.
    pub fn least_busy(&self, cost: u64) -> Option<EndpointId> {
        let mut free = self.free.iter().map(|(_, id)| *id);
        free.find(|id| self.endpoints.get(id).is_some_and(|it| it.fits(cost)))
    }

    /// As [`Endpoints::least_busy`], another one than this.
    pub(crate) fn least_busy_but(&self, but: EndpointId, cost: u64) -> Option<EndpointId> {
        let mut others = self.free.iter().map(|(_, id)| *id).filter(|id| *id != but);
        others.find(|id| self.fits(*id, cost))
    }

    /// Whether a request of this cost fits an endpoint, its slots aside.
    pub(crate) fn fits(&self, id: EndpointId, cost: u64) -> bool {
        self.endpoints.get(&id).is_some_and(|it| it.fits(cost))
    }

    /// Permits held on an endpoint.
    pub fn permits(&self, id: EndpointId) -> u32 {
        self.endpoints
            .get(&id)
            .map_or(0, |endpoint| endpoint.permits.requests)
    }

    /// Whether an endpoint takes requests, as far as it has slots free.
    pub fn is_taking(&self, id: EndpointId) -> bool {
        self.endpoints
            .get(&id)
            .is_some_and(|endpoint| endpoint.taking)
    }

    /// Whether no endpoint is known.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Slots of all endpoints that take requests, free or not.
    pub fn taking_slots(&self) -> u64 {
        self.taking_slots
    }

    /// Those of them that are free.
    pub fn free_slots(&self) -> u64 {
        self.free_slots
    }

    pub(crate) fn take(&mut self, id: EndpointId, cost: u64) {
        self.change(id, |endpoint| {
            endpoint.permits.requests += 1;
            endpoint.permits.tokens += cost;
        });
    }

    pub(crate) fn give_back(&mut self, id: EndpointId, cost: u64) {
        self.change(id, |endpoint| {
            let permits = &mut endpoint.permits;
            permits.requests = permits.requests.saturating_sub(1);
            permits.tokens = permits.tokens.saturating_sub(cost);
        });
    }

    /// Changes one endpoint and keeps the order of the free ones and the sums of slots true.
    fn change(&mut self, id: EndpointId, apply: impl FnOnce(&mut Endpoint)) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        let free_slots = endpoint.free_slots();
        if free_slots > 0 {
            self.free.remove(&(endpoint.load(), id));
        }
        self.free_slots -= u64::from(free_slots);
        if endpoint.taking {
            let slots = u64::from(endpoint.capacity.slots);
            self.taking_slots -= slots;
            self.fast_slots -= if endpoint.is_slow() { 0 } else { slots };
        }
        apply(endpoint);
        if endpoint.taking {
            let slots = u64::from(endpoint.capacity.slots);
            self.taking_slots += slots;
            self.fast_slots += if endpoint.is_slow() { 0 } else { slots };
        }
        let free_slots = endpoint.free_slots();
        self.free_slots += u64::from(free_slots);
        if free_slots > 0 {
            self.free.insert((endpoint.load(), id));
        }
    }
}
