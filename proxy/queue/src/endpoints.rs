//! The workers of one model: their slots, and which of them takes the next request.

use std::collections::{BTreeMap, BTreeSet};

/// One boot of one worker. Never used again, so a worker that restarts gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub(crate) u64);

/// How full an endpoint is: permits per slot in millionths, so that endpoints of different sizes compare.
type Load = u64;

#[derive(Clone, Debug, Default)]
struct Endpoint {
    slots: u32,
    permits: u32,
    elsewhere: u32,
    taking: bool,
}

impl Endpoint {
    fn used(&self) -> u32 {
        self.permits.saturating_add(self.elsewhere)
    }

    fn load(&self) -> Load {
        u64::from(self.used()) * 1_000_000 / u64::from(self.slots.max(1))
    }

    fn is_free(&self) -> bool {
        self.taking && self.used() < self.slots
    }
}

/// All endpoints of one model, with the free ones in order of load.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    free: BTreeSet<(Load, EndpointId)>,
    taking_slots: u64,
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

    /// Sets what the worker announced: its slots, how many of them others hold, and whether it
    /// may be handed requests. Nothing happens for an endpoint that was removed.
    pub fn update(&mut self, id: EndpointId, slots: u32, elsewhere: u32, taking: bool) {
        self.change(id, |endpoint| {
            endpoint.slots = slots;
            endpoint.elsewhere = elsewhere;
            endpoint.taking = taking;
        });
    }

    /// Removes an endpoint that holds no permit; says whether it did.
    pub fn remove(&mut self, id: EndpointId) -> bool {
        if self.permits(id) > 0 {
            return false;
        }
        self.change(id, |endpoint| endpoint.taking = false);
        self.endpoints.remove(&id).is_some()
    }

    /// The least busy endpoint with a free slot, the one added first among equals.
    pub fn least_busy(&self) -> Option<EndpointId> {
        self.free.first().map(|(_, id)| *id)
    }

    /// Permits held on an endpoint.
    pub fn permits(&self, id: EndpointId) -> u32 {
        self.endpoints
            .get(&id)
            .map_or(0, |endpoint| endpoint.permits)
    }

    /// Whether an endpoint takes requests, as far as it has slots free.
    pub fn is_taking(&self, id: EndpointId) -> bool {
        self.endpoints
            .get(&id)
            .is_some_and(|endpoint| endpoint.taking)
    }

    /// Slots of all endpoints that take requests, free or not.
    pub fn taking_slots(&self) -> u64 {
        self.taking_slots
    }

    pub(crate) fn take(&mut self, id: EndpointId) {
        self.change(id, |endpoint| endpoint.permits += 1);
    }

    pub(crate) fn give_back(&mut self, id: EndpointId) {
        self.change(id, |endpoint| {
            endpoint.permits = endpoint.permits.saturating_sub(1)
        });
    }

    /// Changes one endpoint and keeps the order of the free ones and the sum of slots true.
    fn change(&mut self, id: EndpointId, apply: impl FnOnce(&mut Endpoint)) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        if endpoint.is_free() {
            self.free.remove(&(endpoint.load(), id));
        }
        if endpoint.taking {
            self.taking_slots -= u64::from(endpoint.slots);
        }
        apply(endpoint);
        if endpoint.taking {
            self.taking_slots += u64::from(endpoint.slots);
        }
        if endpoint.is_free() {
            self.free.insert((endpoint.load(), id));
        }
    }
}
