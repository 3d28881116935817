//! How the scaler acts: whether it may, taking over, and carrying out a decision.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tidegate_control::{Action, Decision, Observation, Stage, Time};
use tidegate_protocol::Order;

use super::notices::Condition;
use super::{Actuator, Scaler, leadership};
use crate::event::Event;
use crate::lease::{LeaseChange, LeaseError, Memory};
use crate::ledger::{Entry, Outcome};
use crate::metrics;
use crate::orders::Orders;

/// Why something decided was left to the next tick, or the next scaler.
const OUT_OF_TIME: &str = "the lease may end before the call does";

impl Scaler {
    pub(super) fn follow_lease(&mut self, now: Time, change: LeaseChange) {
        match change {
            LeaseChange::Same => {}
            LeaseChange::Taken(left) => self.take_over(now, left),
            LeaseChange::Lost => {
                self.leadership.lose();
                self.roster.forget_orders();
                self.orders = Orders::default();
            }
            LeaseChange::Unreached(error) => {
                let why = error.to_string();
                let event = Event::LeaseUnreached { why };
                self.notices.begins(Condition::LeaseUnreached, event);
                return;
            }
            LeaseChange::StillUnreached => return,
        }
        if self.notices.ends(&Condition::LeaseUnreached) {
            self.notices.emit(Event::LeaseReached);
        }
        metrics::leader(self.leadership.leads());
        if !self.leadership.leads() {
            let holder = self.leadership.holder().map(str::to_owned);
            let event = Event::Watches { holder };
            self.notices.begins(Condition::Watches, event);
        }
    }

    /// Goes on as the scaler that acts, from what the one before has left.
    fn take_over(&mut self, now: Time, left: Result<Option<Memory>, LeaseError>) {
        let unread = left.as_ref().err().map(LeaseError::to_string);
        let left = left.unwrap_or(None);
        if let Some(why) = unread {
            self.notices.emit(Event::MemoryUnread { why });
            self.law.watch_anew(now);
            self.leadership.is_unsettled(now);
        }
        let memory = self.leadership.take(now, left, &self.law, &self.roster);
        // Some of them may have been released while nobody acted.
        (self.drained_by_fleet).extend(memory.drained_by_fleet.iter().cloned());
        self.roster.forget_orders();
        self.orders = Orders::default();
        for (id, since) in &memory.draining {
            match memory.kept_draining.contains(id) {
                true => self.roster.keep_draining(*since, id),
                false => self.roster.drain(*since, id),
            }
        }
        for id in &memory.undrained {
            self.roster.undrain(now, id);
            self.orders.undrain(id);
        }
        self.law.set_override(memory.by_hand);
        self.law.set_changes(leadership::changes(&memory.acts));
        let draining = memory.draining.len();
        self.notices.ends(&Condition::Watches);
        self.notices.emit(Event::Leads { draining });
    }

    /// Whether one call to the fleet may be made: it ends before the lease may.
    pub(super) fn may_act(&self) -> bool {
        match &self.actuator {
            Actuator::Fleet(fleet) => self.leadership.may_act(fleet.call_limit()),
            Actuator::DryRun => false,
        }
    }

    /// Does what was decided, and writes down what came of it.
    pub(super) async fn act(&mut self, now: Time, decision: &Decision, seen: &Observation) {
        if !self.may_act() {
            return;
        }
        let action = &decision.action;
        metrics::changes(action);
        for id in &action.undrain {
            self.roster.undrain(now, id);
            self.orders.undrain(id);
        }
        for id in &action.drain {
            self.roster.drain(now, id);
            self.orders.ends(id);
        }
        if !action.is_none()
            && let Err(error) = self
                .leadership
                .intend(now, action, &self.roster, &self.orders)
                .await
        {
            return self.follow_lease(now, unkept(error));
        }
        let leaving = action.replace.iter().map(|failed| &failed.id);
        for id in action.remove.iter().chain(leaving) {
            self.orders.ends(id);
        }
        self.give_orders(seen).await;
        let mut outcome = Outcome::default();
        let replaced = self.remove(now, action, &mut outcome).await;
        let launch = action.launch.saturating_sub(replaced);
        self.launch(now, launch, &mut outcome).await;
        if self.may_act()
            && let Actuator::Fleet(fleet) = &mut self.actuator
        {
            fleet.attend(now, seen).await;
        }
        if outcome != Outcome::default() {
            self.write(now, Entry::Outcome(outcome));
        }
    }

    /// Removes who has drained, and who failed. As many of those as are to be launched are
    /// replaced one by one; returns how many.
    async fn remove(&mut self, now: Time, action: &Action, outcome: &mut Outcome) -> u32 {
        self.remove_drained(now, &action.remove, outcome).await;
        let mut replaced = 0;
        for id in action.replace.iter().map(|failed| &failed.id) {
            if !self.leadership.has_settled(now, id) {
                replaced += u32::from(replaced < action.launch);
                continue;
            }
            if !self.may_act() {
                outcome.failed.push(OUT_OF_TIME.to_owned());
                return replaced;
            }
            let Actuator::Fleet(fleet) = &mut self.actuator else {
                return replaced;
            };
            let done = match replaced < action.launch {
                true => {
                    replaced += 1;
                    fleet.replace(now, id).await
                }
                false => fleet.remove(id).await.map(|()| Vec::new()),
            };
            match done {
                Ok(launched) => {
                    outcome.removed.push(id.clone());
                    outcome.launched.extend(launched);
                    if let Some(Stage::Booting) = self.stages.get(id) {
                        self.note_failed_start(now);
                    }
                }
                Err(error) => outcome.failed.push(error.to_string()),
            }
        }
        replaced
    }

    /// As many in one go as the fleet takes; before each the lease is asked.
    async fn remove_drained(&mut self, now: Time, ids: &[String], outcome: &mut Outcome) {
        let ids = ids.iter().filter(|id| self.leadership.has_settled(now, id));
        let ids: Vec<String> = ids.cloned().collect();
        let mut left = ids.as_slice();
        while !left.is_empty() {
            if !self.may_act() {
                return outcome.failed.push(OUT_OF_TIME.to_owned());
            }
            let Actuator::Fleet(fleet) = &mut self.actuator else {
                return;
            };
            let done = fleet.remove_some(left).await;
            let (tried, later) = left.split_at(done.len().clamp(1, left.len()));
            for (id, done) in tried.iter().zip(done) {
                match done {
                    Ok(()) => outcome.removed.push(id.clone()),
                    Err(error) => outcome.failed.push(error.to_string()),
                }
            }
            left = later;
        }
    }

    async fn launch(&mut self, now: Time, count: u32, outcome: &mut Outcome) {
        if count > 0 && !self.may_act() {
            return outcome.failed.push(OUT_OF_TIME.to_owned());
        }
        let grown = match &mut self.actuator {
            Actuator::Fleet(fleet) if count > 0 => fleet.grow(now, count).await,
            _ => return,
        };
        match grown {
            Ok(ids) => {
                self.notices.ends(&Condition::LaunchFailed);
                outcome.launched.extend(ids);
            }
            Err(error) => {
                let why = error.to_string();
                outcome.failed.push(why.clone());
                let event = Event::LaunchFailed { why };
                self.notices.begins(Condition::LaunchFailed, event);
                self.note_failed_start(now);
            }
        }
    }

    async fn give_orders(&mut self, seen: &Observation) {
        let ours = self.roster.draining().map(|(id, _)| id.to_owned());
        let draining: BTreeSet<String> = ours.chain(self.drained_by_fleet.clone()).collect();
        let draining: Vec<String> = draining.into_iter().collect();
        let members: Vec<&String> = self.stages.keys().collect();
        let all = self.orders.due(seen, &draining, &members);
        let (proxies, names) = (&self.proxies, &self.names);
        let all: Vec<(&str, Order, &str)> = (all.iter())
            .flat_map(|due| {
                let behind = names.behind(&due.proxy, &due.worker).into_iter();
                behind.map(|worker| (due.proxy.as_str(), due.order, worker))
            })
            .collect();
        let given = (all.iter()).map(|(proxy, order, worker)| proxies.order(proxy, *order, worker));
        for ((proxy, ..), result) in all.iter().zip(join_all(given).await) {
            self.notices.order(proxy, result);
        }
    }
}

/// What a memory that could not be kept says of the lease.
fn unkept(error: LeaseError) -> LeaseChange {
    match error {
        LeaseError::Lost => LeaseChange::Lost,
        error => LeaseChange::Unreached(error),
    }
}
