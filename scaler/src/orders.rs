//! Drain orders on their way to the proxies: given again until each proxy is seen to follow.

use std::collections::BTreeSet;

use tidegate_control::{Observation, WorkerSight};
use tidegate_wire::Order;

/// An order that is to be given to a proxy now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub proxy: String,
    pub worker: String,
    pub order: Order,
}

/// Orders that were decided and not yet followed.
///
/// A drain is due wherever a worker that shall drain is not reported as draining. A worker also
/// reports to drain for a moment after the order was taken back, so an undrain is due once at
/// each proxy, until the proxy has accepted it.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    undrains: BTreeSet<(String, String)>,
}

impl Orders {
    /// The drain of a worker is taken back at all proxies.
    pub fn undrain<'a>(&mut self, worker: &str, proxies: impl IntoIterator<Item = &'a String>) {
        let due = proxies
            .into_iter()
            .map(|proxy| (proxy.clone(), worker.to_owned()));
        self.undrains.extend(due);
    }

    /// The worker shall drain after all.
    pub fn drain(&mut self, worker: &str) {
        self.undrains.retain(|(_, undrained)| undrained != worker);
    }

    /// A proxy has accepted an order.
    pub fn accepted(&mut self, due: &Due) {
        if due.order == Order::Undrain {
            self.undrains
                .remove(&(due.proxy.clone(), due.worker.clone()));
        }
    }

    /// What is to be said to whom, given what they report. Who does not answer, or does not know
    /// a worker, is told nothing about it.
    pub fn due(&mut self, seen: &Observation, draining: &[String]) -> Vec<Due> {
        let sight = |proxy: &str, worker: &str| -> Option<&WorkerSight> {
            let mut proxies = seen.proxies.iter();
            let proxy = proxies.find(|sight| sight.source == proxy)?;
            proxy.seen.as_ref()?.worker(worker)
        };
        let missing: Vec<&str> = seen.missing().collect();
        self.undrains.retain(|(proxy, worker)| {
            missing.contains(&proxy.as_str()) || sight(proxy, worker).is_some()
        });
        let due = |proxy: &str, worker: &str, order| Due {
            proxy: proxy.to_owned(),
            worker: worker.to_owned(),
            order,
        };
        let mut all = Vec::new();
        for proxy in &seen.proxies {
            let proxy = proxy.source.as_str();
            for worker in draining {
                if sight(proxy, worker).is_some_and(|sight| !sight.draining) {
                    all.push(due(proxy, worker, Order::Drain));
                }
            }
        }
        let undrains = self.undrains.iter();
        let answering = undrains.filter(|(proxy, _)| !missing.contains(&proxy.as_str()));
        all.extend(answering.map(|(proxy, worker)| due(proxy, worker, Order::Undrain)));
        all
    }
}
