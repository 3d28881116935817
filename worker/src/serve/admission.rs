//! Slots: one for each request that was accepted, given back when its work ends.
//!
//! A slot is held by whoever has the work; a client that leaves does not free it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// All slots of the worker.
#[derive(Debug)]
pub struct Admission {
    limit: u32,
    taken: Mutex<HashMap<String, u32>>,
    busy: watch::Sender<u32>,
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
            taken: Mutex::default(),
            busy: watch::Sender::new(0),
        })
    }

    /// Takes a slot for a request that came through `proxy`; empty for a direct client.
    pub fn take(self: &Arc<Self>, proxy: &str) -> Result<Slot, Full> {
        let admitted = self.busy.send_if_modified(|busy| {
            let free = *busy < self.limit;
            *busy += u32::from(free);
            free
        });
        if !admitted {
            return Err(Full);
        }
        self.count(proxy, |count| count + 1);
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
        *self.busy.borrow()
    }

    /// Slots taken now through one proxy.
    pub fn taken_by(&self, proxy: &str) -> u32 {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(proxy).copied().unwrap_or(0)
    }

    /// Returns when no slot is taken.
    pub async fn empty(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.busy.subscribe().wait_for(|busy| *busy == 0).await;
    }

    fn count(&self, proxy: &str, change: impl FnOnce(u32) -> u32) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match change(taken.get(proxy).copied().unwrap_or(0)) {
            0 => taken.remove(proxy),
            count => taken.insert(proxy.to_owned(), count),
        };
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission
            .count(&self.proxy, |count| count.saturating_sub(1));
        self.admission
            .busy
            .send_modify(|busy| *busy = busy.saturating_sub(1));
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
        assert_eq!((admission.busy(), admission.taken_by("a")), (2, 1));
        drop(first);
        assert_eq!((admission.busy(), admission.taken_by("a")), (1, 0));
        assert!(admission.take("b").is_ok());
    }
}
