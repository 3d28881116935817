//! What one class of a queue has counted since it began, for the signal.

use std::time::Duration;

use tidegate_protocol::{ClassSignal, Histogram};

use crate::Outcome;

#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    arrivals: u64,
    answered: u64,
    failed: u64,
    shed: u64,
    expired: u64,
    aborted: u64,
    retries: u64,
    cost: u64,
    latency: Histogram,
    wait: Histogram,
    service: Histogram,
}

impl Record {
    pub(crate) fn arrived(&mut self) {
        self.arrivals += 1;
    }

    /// Whether there was a request.
    pub(crate) fn is_used(&self) -> bool {
        self.arrivals > 0
    }

    /// A refusal on arrival, `age` after the request began to be read.
    pub(crate) fn shed(&mut self, age: Duration) {
        self.shed += 1;
        self.latency.record(age);
        self.wait.record(age);
    }

    /// The first permit of a request, or its end without one.
    pub(crate) fn waited(&mut self, age: Duration) {
        self.wait.record(age);
    }

    pub(crate) fn retried(&mut self) {
        self.retries += 1;
    }

    pub(crate) fn served(&mut self, service: Duration, cost: u64) {
        self.service.record(service);
        self.cost = self.cost.saturating_add(cost);
    }

    pub(crate) fn ended(&mut self, outcome: Outcome, age: Duration) {
        self.latency.record(age);
        match outcome {
            Outcome::Answered => self.answered += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Expired => self.expired += 1,
            Outcome::Aborted => self.aborted += 1,
        }
    }

    /// The counters and histograms; the gauges are left at zero for the queue to fill.
    pub(crate) fn signal(&self, class: &str) -> ClassSignal {
        ClassSignal {
            class: class.to_owned(),
            arrivals_total: self.arrivals,
            answered_total: self.answered,
            failed_total: self.failed,
            shed_total: self.shed,
            expired_total: self.expired,
            aborted_total: self.aborted,
            retries_total: self.retries,
            cost_total: self.cost,
            latency: self.latency.clone(),
            wait: self.wait.clone(),
            service: self.service.clone(),
            ..ClassSignal::default()
        }
    }
}
