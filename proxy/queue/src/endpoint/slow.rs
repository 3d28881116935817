//! Endpoints that are slower than others: when one is worth it, and how one that has recovered is
//! found again.
//!
//! A slow endpoint is a server of a queue with servers of two speeds. The rule for it is a
//! threshold (Lin and Kumar, Optimal control of a queueing system with two heterogeneous servers,
//! IEEE Transactions on Automatic Control 29, 1984): it is given a request only when so many wait
//! that waiting for a fast one would take longer.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{EndpointId, Endpoints};
use crate::speed::{self, Spread};

/// Of so many requests one is given to a slow endpoint to see whether it still is.
const PROBE_EVERY: u64 = 1_000;

/// Weight of the newest service time in the mean of the fast ones.
const NEWEST: f64 = 1.0 / 256.0;

/// What is known of the speeds of all endpoints of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Slow {
    pub ids: BTreeSet<EndpointId>,
    spread: Spread,
    /// The mean logarithm that a fast endpoint has: the first quartile of theirs.
    reference: Option<f64>,
    /// Answers until it is looked at again.
    until_look: usize,
    /// Mean service time of the fast ones in seconds.
    fast_mean: f64,
    /// Requests until the next probe, and the endpoint that was probed last.
    until_probe: u64,
    probed: Option<EndpointId>,
}

/// Where a request goes that is first in queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To this endpoint.
    Take(EndpointId),
    /// To a fast endpoint once one is free. Should more than `after` requests wait, the one at that
    /// place, counted from 0, is better off with this slow endpoint, which needs about so long.
    Behind {
        after: usize,
        endpoint: EndpointId,
        service: Duration,
    },
}

impl Endpoints {
    /// Where a request of this cost goes; `None` when it fits nowhere now.
    pub(crate) fn choose(&mut self, cost: u64) -> Option<Choice> {
        let least_busy = self.least_busy(cost)?;
        if self.slow.ids.is_empty() {
            return Some(Choice::Take(least_busy));
        }
        if let Some(probe) = self.next_probe(cost) {
            return Some(Choice::Take(probe));
        }
        Some(self.behind(least_busy).unwrap_or(Choice::Take(least_busy)))
    }

    /// How many must wait until the slow endpoint pays; `None` if it does already.
    fn behind(&self, id: EndpointId) -> Option<Choice> {
        let endpoint = self.endpoints.get(&id)?;
        if !endpoint.is_slow() || self.fast_slots == 0 {
            return None;
        }
        // Between a worker whose requests do not slow each other down and one where they share all.
        let slots = f64::from(endpoint.capacity.slots.max(1));
        let fullness = (f64::from(endpoint.used()) + 1.0) / slots;
        let times = endpoint.slowness * fullness.sqrt();
        // Place k of the queue waits for k + 1 of the fast slots, which come free at this rate, and
        // is then served in the mean time of the fast.
        let after = (times - 1.0) * self.fast_slots as f64 - 1.0;
        let service = Duration::from_secs_f64(endpoint.slowness * self.slow.fast_mean);
        (after > 0.0).then_some(Choice::Behind {
            after: after as usize,
            endpoint: id,
            service,
        })
    }

    /// A slow endpoint whose turn it is to show what it can do now.
    fn next_probe(&mut self, cost: u64) -> Option<EndpointId> {
        self.slow.until_probe = self.slow.until_probe.saturating_sub(1);
        if self.slow.until_probe > 0 {
            return None;
        }
        let is_free = |id: &&EndpointId| {
            let endpoint = self.endpoints.get(id);
            endpoint.is_some_and(|it| it.free_slots() > 0 && it.fits(cost))
        };
        let last = self.slow.probed.unwrap_or(EndpointId(0));
        let ids = &self.slow.ids;
        let after = ids.range(last..).skip_while(|id| **id == last);
        let id = *after.chain(ids).find(is_free)?;
        self.slow.probed = Some(id);
        self.slow.until_probe = PROBE_EVERY;
        if let Some(endpoint) = self.endpoints.get_mut(&id) {
            endpoint.speed.forget_most();
        }
        Some(id)
    }

    /// Learns from an answer how fast its endpoint is.
    pub(crate) fn learn(&mut self, id: EndpointId, service: Duration) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        let was_slow = endpoint.is_slow();
        if was_slow
            && let Some(reference) = self.slow.reference
            && endpoint.speed.is_surprised_by(service, reference)
        {
            // It may have recovered: the next request shows more.
            self.slow.until_probe = 0;
            self.slow.probed = None;
        }
        let off = endpoint.speed.record(service);
        self.slow.spread.record(off);
        if !was_slow {
            let seconds = service.as_secs_f64();
            let mean = &mut self.slow.fast_mean;
            *mean += match *mean {
                0.0 => seconds,
                before => NEWEST * (seconds - before),
            };
        }
        self.judge(id);
        self.slow.until_look = self.slow.until_look.saturating_sub(1);
        if self.slow.until_look == 0 {
            self.look_at_all();
        }
    }

    /// Learns from a try that was given up after so long: its answer would have taken longer. An
    /// endpoint that is slower than that already is not taken for faster by it.
    pub(crate) fn learn_at_least(&mut self, id: EndpointId, so_far: Duration) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else {
            return;
        };
        if endpoint.speed.is_raised_by(so_far) {
            endpoint.speed.record(so_far);
            self.judge(id);
        }
    }

    /// What nearly no service of a fast endpoint takes; `None` while no two endpoints are known.
    pub(crate) fn longest(&self) -> Option<Duration> {
        let deviation = self.slow.spread.deviation();
        self.slow
            .reference
            .map(|mean| speed::longest(mean, deviation))
    }

    /// Finds the speed of the fast ones anew, and who is slow by it.
    fn look_at_all(&mut self) {
        self.slow.until_look = self.endpoints.len().max(32);
        let known = self.endpoints.values().filter(|endpoint| endpoint.taking);
        let mut means: Vec<f64> = known.filter_map(|it| it.speed.known_mean()).collect();
        if means.len() < 2 {
            self.slow.reference = None;
        } else {
            let quartile = (means.len() - 1) / 4;
            means.select_nth_unstable_by(quartile, f64::total_cmp);
            self.slow.reference = Some(means[quartile]);
        }
        let slow: Vec<_> = self.slow.ids.iter().copied().collect();
        slow.into_iter().for_each(|id| self.judge(id));
    }

    fn judge(&mut self, id: EndpointId) {
        let Some(endpoint) = self.endpoints.get(&id) else {
            return;
        };
        let deviation = self.slow.spread.deviation();
        let slowness = (self.slow.reference).map_or(1.0, |reference| {
            endpoint.speed.slowness(reference, deviation)
        });
        if slowness == endpoint.slowness {
            return;
        }
        match slowness > 1.0 {
            true => self.slow.ids.insert(id),
            false => self.slow.ids.remove(&id),
        };
        self.change(id, |endpoint| endpoint.slowness = slowness);
    }
}
