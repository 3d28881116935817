//! Slots: one for each request that was accepted, given back when its work ends.
//!
//! A slot is held by whoever has the work; a client that leaves does not free it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

/// All slots of the worker.
#[derive(Debug)]
pub struct Admission {
    limit: u32,
    taken: watch::Sender<Taken>,
}

/// What is taken now; changed as one, so that its parts agree.
#[derive(Debug, Default)]
struct Taken {
    busy: u32,
    by_proxy: HashMap<String, u32>,
}

/// What one proxy is told; both numbers of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Slots taken.
    pub busy: u32,
    /// Of those, through this proxy.
    pub yours: u32,
}

/// One accepted request. Dropping it gives the slot back.
#[derive(Debug)]
pub struct Slot {
    admission: Arc<Admission>,
    proxy: String,
}

/// Every slot is taken.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Admission {
    pub fn new(limit: u32) -> Arc<Admission> {
        Arc::new(Admission {
            limit,
            taken: watch::Sender::default(),
        })
    }

    /// Takes a slot for a request that came through `proxy`; empty for a direct client.
    pub fn take(self: &Arc<Self>, proxy: &str) -> Result<Slot, Full> {
        let admitted = self.taken.send_if_modified(|taken| {
            let free = taken.busy < self.limit;
            if free {
                taken.add(proxy);
            }
            free
        });
        if !admitted {
            return Err(Full);
        }
        Ok(Slot {
            admission: self.clone(),
            proxy: proxy.to_owned(),
        })
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Slots taken now.
    pub fn busy(&self) -> u32 {
        self.taken.borrow().busy
    }

    /// Slots taken now, and how many of them through `proxy`.
    pub fn held(&self, proxy: &str) -> Held {
        let taken = self.taken.borrow();
        Held {
            busy: taken.busy,
            yours: taken.by_proxy.get(proxy).copied().unwrap_or(0),
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

impl Taken {
    fn add(&mut self, proxy: &str) {
        self.busy += 1;
        *self.by_proxy.entry(proxy.to_owned()).or_default() += 1;
    }

    fn remove(&mut self, proxy: &str) {
        self.busy = self.busy.saturating_sub(1);
        if let Some(count) = self.by_proxy.get_mut(proxy) {
            *count -= 1;
            if *count == 0 {
                self.by_proxy.remove(proxy);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission
            .taken
            .send_modify(|taken| taken.remove(&self.proxy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_end_and_are_counted_by_proxy() {
        let admission = Admission::new(2);
        let first = admission.take("a").expect("two are free");
        let _second = admission.take("").expect("one is free");
        assert_eq!(admission.take("a").err(), Some(Full));
        assert_eq!(admission.held("a"), Held { busy: 2, yours: 1 });
        drop(first);
        assert_eq!(admission.held("a"), Held { busy: 1, yours: 0 });
        assert!(admission.take("b").is_ok());
    }

    #[test]
    fn the_slots_of_a_proxy_and_of_all_are_of_one_moment() {
        let admission = Admission::new(1);
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
}
