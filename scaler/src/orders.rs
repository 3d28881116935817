//! Drain orders on their way to the proxies: given again until each proxy is seen to follow.

use std::collections::BTreeSet;

use tidegate_control::{Observation, WorkerObservation};
use tidegate_protocol::Order;

/// An order that is to be given to a proxy now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub proxy: String,
    pub worker: String,
    pub order: Order,
}

/// Orders that were decided and not yet followed.
///
/// A drain is due wherever a worker that shall drain is not reported as draining, and an undrain
/// wherever one whose drain was taken back still is. Giving either again changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    undrained: BTreeSet<String>,
}

impl Orders {
    /// The drain of a worker is taken back at all proxies.
    pub fn undrain(&mut self, worker: &str) {
        self.undrained.insert(worker.to_owned());
    }

    /// Workers whose drain was taken back, and who are not seen ready at every proxy yet.
    pub fn undrained(&self) -> impl Iterator<Item = &str> {
        self.undrained.iter().map(String::as_str)
    }

    /// The worker shall end after all: it drains, or was told to stop.
    pub fn ends(&mut self, worker: &str) {
        self.undrained.remove(worker);
    }

    /// What is to be said to whom, given what they report. Who does not answer, or does not know
    /// a worker, gets no order about it; an undrain is over when its worker is none of
    /// `members` any more, or is ready at every proxy.
    pub fn due(
        &mut self,
        seen: &Observation,
        draining: &[String],
        members: &[&String],
    ) -> Vec<Due> {
        self.undrained
            .retain(|worker| members.contains(&worker) && !is_ready_everywhere(seen, worker));
        let mut all = Vec::new();
        for proxy in &seen.proxies {
            let is_draining = |worker: &String| -> Option<bool> {
                let report = proxy.seen.as_ref()?.worker(worker)?;
                Some(report.draining)
            };
            let due = |worker: &String, order| Due {
                proxy: proxy.source.clone(),
                worker: worker.clone(),
                order,
            };
            let drains = draining.iter().filter(|w| is_draining(w) == Some(false));
            all.extend(drains.map(|worker| due(worker, Order::Drain)));
            let undrains = self.undrained.iter();
            let undrains = undrains.filter(|w| is_draining(w) == Some(true));
            all.extend(undrains.map(|worker| due(worker, Order::Undrain)));
        }
        all
    }
}

fn is_ready_everywhere(seen: &Observation, worker: &str) -> bool {
    let is_ready = |report: Option<&WorkerObservation>| {
        report.is_some_and(|report| report.ready && !report.draining)
    };
    seen.is_complete() && seen.of_worker(worker).all(is_ready)
}
