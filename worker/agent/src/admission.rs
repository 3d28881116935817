//! Slots: one for each accepted request, released when all work on it has ended; and tokens, for workers
//! that count the capacity in them.
//!
//! The work on a request holds its slot; a client that leaves does not free it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tidegate_telemetry::Parent;
use tokio::sync::watch;

/// What a worker takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub requests: u32,
    /// Of all requests together; none where only requests are counted.
    pub tokens: Option<u64>,
}

/// All slots of the worker.
#[derive(Debug)]
pub struct Admission {
    taken: watch::Sender<Taken>,
}

/// What is taken now; changed as one, so that its parts agree.
#[derive(Debug)]
struct Taken {
    capacity: Capacity,
    busy: u32,
    tokens: u64,
    by_proxy: BTreeMap<String, u32>,
}

/// What is reported to one proxy; all numbers of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Slots taken.
    pub busy: u32,
    /// Of those, through this proxy.
    pub yours: u32,
    /// Tokens taken.
    pub tokens: u64,
}

/// One accepted request. Dropping its last clone gives the slot back, and the tokens with it.
#[derive(Clone, Debug)]
pub struct Slot(Arc<Place>);

#[derive(Debug)]
struct Place {
    admission: Arc<Admission>,
    proxy: String,
    tokens: AtomicU64,
    trace: OnceLock<Parent>,
}

/// Every slot is taken, or too few tokens are left.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Admission {
    pub fn new(capacity: Capacity) -> Arc<Admission> {
        Arc::new(Admission {
            taken: watch::Sender::new(Taken {
                capacity,
                busy: 0,
                tokens: 0,
                by_proxy: BTreeMap::new(),
            }),
        })
    }

    /// What there is from now on, as when a model is loaded that counts tokens.
    pub fn set_capacity(&self, capacity: Capacity) {
        self.taken.send_modify(|taken| taken.capacity = capacity);
    }

    /// Takes a slot for a request that came through `proxy`; empty for a direct client.
    pub fn take(self: &Arc<Self>, proxy: &str) -> Result<Slot, Full> {
        let admitted = self.taken.send_if_modified(|taken| {
            let free = taken.busy < taken.capacity.requests;
            if free {
                taken.add(proxy);
            }
            free
        });
        if !admitted {
            return Err(Full);
        }
        Ok(Slot(Arc::new(Place {
            admission: self.clone(),
            proxy: proxy.to_owned(),
            tokens: AtomicU64::new(0),
            trace: OnceLock::new(),
        })))
    }

    pub fn capacity(&self) -> Capacity {
        self.taken.borrow().capacity
    }

    /// Slots taken now.
    pub fn busy(&self) -> u32 {
        self.taken.borrow().busy
    }

    /// Slots taken now, by the proxy they were taken through.
    pub fn by_proxy(&self) -> BTreeMap<String, u32> {
        self.taken.borrow().by_proxy.clone()
    }

    /// What is taken now, and how much of it through `proxy`.
    pub fn held(&self, proxy: &str) -> Held {
        let taken = self.taken.borrow();
        Held {
            busy: taken.busy,
            yours: taken.by_proxy.get(proxy).copied().unwrap_or(0),
            tokens: taken.tokens,
        }
    }

    /// Returns when no slot is taken.
    pub async fn empty(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self
            .taken
            .subscribe()
            .wait_for(|taken| taken.busy == 0)
            .await;
    }
}

impl Slot {
    /// From now on the work on the request is traced as a part of this.
    pub fn trace_as(&self, parent: Parent) {
        // It is said once.
        let _ = self.0.trace.set(parent);
    }

    /// What the work on the request is traced as a part of.
    pub fn trace(&self) -> Option<&Parent> {
        self.0.trace.get()
    }

    /// Takes tokens for this request, once it is known how many it needs.
    pub fn charge(&self, tokens: u64) -> Result<(), Full> {
        let Place {
            admission,
            tokens: mine,
            ..
        } = &*self.0;
        let charged = admission.taken.send_if_modified(|taken| {
            let after = taken.tokens.saturating_add(tokens);
            let fits = taken.capacity.tokens.is_none_or(|most| after <= most);
            if fits {
                taken.tokens = after;
                mine.fetch_add(tokens, Ordering::Relaxed);
            }
            fits
        });
        match charged {
            true => Ok(()),
            false => Err(Full),
        }
    }
}

impl Taken {
    fn add(&mut self, proxy: &str) {
        self.busy += 1;
        *self.by_proxy.entry(proxy.to_owned()).or_default() += 1;
    }

    fn remove(&mut self, proxy: &str, tokens: u64) {
        self.busy = self.busy.saturating_sub(1);
        self.tokens = self.tokens.saturating_sub(tokens);
        if let Some(count) = self.by_proxy.get_mut(proxy) {
            *count -= 1;
            if *count == 0 {
                self.by_proxy.remove(proxy);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let tokens = *self.tokens.get_mut();
        self.admission
            .taken
            .send_modify(|taken| taken.remove(&self.proxy, tokens));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(requests: u32) -> Arc<Admission> {
        Admission::new(Capacity {
            requests,
            tokens: None,
        })
    }

    #[test]
    fn slots_end_and_are_counted_by_proxy() {
        let admission = slots(2);
        let first = admission.take("a").expect("two are free");
        let _second = admission.take("").expect("one is free");
        assert_eq!(admission.take("a").err(), Some(Full));
        assert_eq!(
            admission.held("a"),
            Held {
                busy: 2,
                yours: 1,
                tokens: 0
            }
        );
        drop(first);
        assert_eq!(
            admission.held("a"),
            Held {
                busy: 1,
                yours: 0,
                tokens: 0
            }
        );
        assert!(admission.take("b").is_ok());
    }

    #[test]
    fn the_slots_of_a_proxy_and_of_all_are_of_one_moment() {
        let admission = slots(1);
        let stirring = admission.clone();
        let other = std::thread::spawn(move || {
            for _ in 0..20_000 {
                drop(stirring.take("a"));
            }
        });
        while !other.is_finished() {
            let held = admission.held("a");
            assert_eq!(held.busy, held.yours, "all slots are taken through a");
        }
        assert!(other.join().is_ok());
    }

    #[test]
    fn a_slot_is_free_when_its_last_holder_is_done() {
        let admission = slots(1);
        let reader = admission.take("").expect("one is free");
        let worker = reader.clone();
        drop(reader);
        assert_eq!(admission.busy(), 1);
        drop(worker);
        assert_eq!(admission.busy(), 0);
    }

    #[test]
    fn tokens_end_and_come_back_with_their_slot() {
        let admission = Admission::new(Capacity {
            requests: 9,
            tokens: Some(100),
        });
        let first = admission.take("").expect("one is free");
        let second = admission.take("").expect("one is free");
        assert_eq!(first.charge(70), Ok(()));
        assert_eq!(second.charge(31), Err(Full));
        assert_eq!(second.charge(30), Ok(()));
        assert_eq!(admission.held("").tokens, 100);
        drop(first);
        assert_eq!(admission.held("").tokens, 30);
    }
}
