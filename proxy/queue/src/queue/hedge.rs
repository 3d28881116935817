//! A second attempt beside a first one that takes long, so that a request is answered although its
//! worker hangs. (Dean and Barroso, The tail at scale,
//! Communications of the ACM 56, 2013, call it a hedged request.)

use std::time::Duration;

use super::{Permit, Queue, Ticket};
use crate::{EndpointId, Moment};

impl Queue {
    /// How long a try may take before it counts as late; `None` while too little is known, or for
    /// a request that must not be computed twice.
    pub fn hedge_after(&self, ticket: Ticket) -> Option<Duration> {
        let least = self.config.retry.hedge_after?;
        let request = self.requests.get(&ticket)?;
        let longest = request.ask.idempotent.then(|| self.endpoints.longest())??;
        Some(longest.max(least))
    }

    /// A second permit for a request whose try is late: of another endpoint that has room, while
    /// nothing waits and the retry budget lasts.
    pub fn hedge(&mut self, now: Moment, ticket: Ticket) -> Option<EndpointId> {
        let request = self.requests.get(&ticket)?;
        let first = request.permit?;
        if !request.ask.idempotent || request.second.is_some() || self.waiting > 0 {
            return None;
        }
        let ask = request.ask;
        let endpoint = self.endpoints.least_busy_but(first.endpoint, ask.cost)?;
        if !self.retries.spend() {
            return None;
        }
        let class = &mut self.classes[ask.class.index()];
        class.record.retried();
        class.take(now);
        self.running.insert(now);
        self.endpoints.take(endpoint, ask.cost);
        let second = Permit {
            endpoint,
            since: now,
        };
        self.requests.get_mut(&ticket)?.second = Some(second);
        Some(endpoint)
    }

    /// Gives back the permit of one of two tries: the other has answered, or this one failed. How
    /// long it took so far is learned, since its answer would have taken longer. The last try of a
    /// request is not touched.
    pub fn abandon(&mut self, now: Moment, ticket: Ticket, endpoint: EndpointId) {
        let Some(request) = self.requests.get_mut(&ticket) else {
            return;
        };
        let (Some(first), Some(second)) = (request.permit, request.second) else {
            return;
        };
        let (given_up, kept) = match first.endpoint == endpoint {
            true => (first, second),
            false => (second, first),
        };
        request.permit = Some(kept);
        request.second = None;
        let ask = request.ask;
        self.give_back(given_up, &ask);
        let so_far = now.saturating_sub(given_up.since);
        self.endpoints.learn_at_least(given_up.endpoint, so_far);
    }
}
