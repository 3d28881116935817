//! Which class is next: by the order of the classes, and first come first served within each. Two
//! exceptions: a class may leave slots free, and no class waits for ever.

use std::collections::BTreeSet;

use super::{Ask, Queue, Ticket};
use crate::Moment;
use crate::ages::Ages;
use crate::estimate::ServiceTime;
use crate::record::Record;

/// Shares are added up in binary fractions.
const ROUNDING: f64 = 1e-9;

/// What of a queue is of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct ClassQueue {
    waiting: BTreeSet<Ticket>,
    pub bytes: u64,
    pub cost: u64,
    /// Since when permits are held.
    pub running: Ages,
    pub in_flight: usize,
    /// Refused requests that are expected back, each before those refused later.
    pub owed: u64,
    /// Work that is due to requests that have waited for long, in units of cost.
    credit: f64,
    pub service: ServiceTime,
    pub record: Record,
}

impl ClassQueue {
    pub fn enter(&mut self, ticket: Ticket, ask: &Ask) {
        self.waiting.insert(ticket);
        self.bytes += ask.bytes;
        self.cost = self.cost.saturating_add(ask.cost);
    }

    pub fn leave(&mut self, ticket: Ticket, ask: &Ask) {
        self.waiting.remove(&ticket);
        self.bytes -= ask.bytes;
        self.cost = self.cost.saturating_sub(ask.cost);
    }

    pub fn take(&mut self, now: Moment) {
        self.running.insert(now);
        self.in_flight += 1;
    }

    pub fn give_back(&mut self, since: Moment) {
        self.running.remove(since);
        self.in_flight -= 1;
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest request in queue.
    pub fn first(&self) -> Option<Ticket> {
        self.waiting.first().copied()
    }
}

impl Queue {
    /// The class whose oldest request is next, if a slot may be handed to it.
    pub(super) fn next_class(&self, now: Moment) -> Option<usize> {
        let first = self.classes.iter().position(|class| class.waiting() > 0)?;
        let is_due = |class: &usize| {
            let aged = self.aged_cost(now, *class);
            aged.is_some_and(|cost| self.classes[*class].credit >= cost - ROUNDING)
        };
        // Headroom does not hold for work that is due: a fleet that is never idle would starve it.
        if let Some(due) = (first..self.classes.len()).find(is_due) {
            return Some(due);
        }
        let slots = self.endpoints.taking_slots();
        let left_free = self.config.classes[first].left_free(slots);
        (self.endpoints.free_slots() > left_free).then_some(first)
    }

    /// The request at a place of the queue, counted from 0 over all classes in their order.
    pub(super) fn at_place(&self, mut place: usize) -> Option<Ticket> {
        for class in &self.classes {
            match class.waiting.iter().nth(place) {
                Some(ticket) => return Some(*ticket),
                None => place -= class.waiting(),
            }
        }
        None
    }

    /// Settles what a grant to one class means for the others: what was due to it is paid, and
    /// those behind it whose oldest has waited for long earn their share.
    pub(super) fn share_out(&mut self, now: Moment, granted: &Ask) {
        let cost = granted.cost.max(1) as f64;
        let class = granted.class.index();
        let paid = &mut self.classes[class].credit;
        *paid = (*paid - cost).max(0.0);
        for behind in class + 1..self.classes.len() {
            if let Some(most) = self.aged_cost(now, behind) {
                let earned = self.config.classes[behind].share * cost;
                let credit = &mut self.classes[behind].credit;
                *credit = (*credit + earned).min(2.0 * most);
            }
        }
    }

    /// What the oldest request of a class costs, if it has waited for long.
    fn aged_cost(&self, now: Moment, class: usize) -> Option<f64> {
        let oldest = self.requests.get(&self.classes[class].first()?)?;
        let waited = now.saturating_sub(oldest.ask.arrived);
        let cost = oldest.ask.cost.max(1) as f64;
        (waited >= self.config.classes[class].ageing).then_some(cost)
    }
}
