//! The scaler: one tick reads the signals and the fleet, decides, writes the intent down, acts,
//! and writes down what came of it. Nothing else changes the fleet's size.

mod notes;
mod starts;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tidegate_control::{
    Action, Decision, Fleet as Roll, Law, Observation, Observer, Override, Policy, Roster, Size,
    Stage, Time, Worker,
};

use crate::event::{Death, Event, Stopped, Tell};
use crate::fleet::{Ended, Fleet, FleetError, Limits, reported};
use crate::ledger::{ByHand, Entry, Ledger, Outcome, Tick};
use crate::metrics;
use crate::orders::Orders;
use crate::proxies::{self, Proxies};
use crate::sources::Sources;
use notes::{Condition, Notes};
use starts::Starts;

/// What a scaler is made of.
pub struct Parts {
    pub law: Law,
    pub roster: Roster,
    pub proxies: Proxies,
    pub sources: Sources,
    pub hands: Hands,
    pub ledger: Ledger,
    pub tell: Box<dyn Tell>,
}

/// What the scaler decides about.
pub enum Hands {
    /// A fleet that does what is decided.
    Free(Box<dyn Fleet>),
    /// Whoever reports to the proxies; nothing is done.
    Tied,
}

pub struct Scaler {
    law: Law,
    observer: Observer,
    roster: Roster,
    proxies: Proxies,
    sources: Sources,
    orders: Orders,
    hands: Hands,
    ledger: Ledger,
    starts: Starts,
    notes: Notes,
    /// Where each worker was at the last tick.
    stages: BTreeMap<String, Stage>,
    asked: metrics::Asked,
}

impl Scaler {
    pub fn new(parts: Parts) -> Scaler {
        Scaler {
            observer: Observer::of_model(parts.law.policy().fleet.model.clone()),
            law: parts.law,
            roster: parts.roster,
            proxies: parts.proxies,
            sources: parts.sources,
            orders: Orders::default(),
            hands: parts.hands,
            ledger: parts.ledger,
            starts: Starts::default(),
            notes: Notes::new(parts.tell),
            stages: BTreeMap::new(),
            asked: metrics::Asked::default(),
        }
    }

    /// Goes on with another policy and other proxies.
    pub fn reload(&mut self, policy: Policy, proxies: Proxies, sources: Sources) {
        self.observer.set_model(policy.fleet.model.clone());
        self.sources = sources;
        self.law.reload(policy);
        self.proxies = proxies;
    }

    /// Takes the fleet's size into somebody's hands, or gives it back to the law.
    ///
    /// # Errors
    /// In words, when the size is one that the fleet may not have.
    pub fn take_order(
        &mut self,
        now: Time,
        size: Option<Size>,
        span: Duration,
    ) -> Result<String, String> {
        let bounds = self.law.policy().fleet.bounds();
        if let Some(Size::Workers(workers)) = size
            && bounds.clamp(workers) != workers
        {
            let (min, max) = (bounds.min, bounds.max);
            return Err(format!("found {workers} workers, expected {min} to {max}"));
        }
        let until = now + span;
        let order = size.map(|size| Override { size, until });
        self.law.set_override(order);
        self.write(now, Entry::ByHand(ByHand { order }));
        let event = Event::ByHand(order);
        let told = event.to_string();
        self.notes.tell(event);
        Ok(told)
    }

    /// What the fleet allows, if there is one.
    pub fn limits(&self) -> Option<Limits> {
        match &self.hands {
            Hands::Free(fleet) => Some(fleet.limits()),
            Hands::Tied => None,
        }
    }

    /// Workers that serve, as of the last tick.
    pub fn serving(&self) -> usize {
        let serving = |stage: &&Stage| matches!(stage, Stage::Serving { .. });
        self.stages.values().filter(serving).count()
    }

    pub fn tell(&mut self, event: Event) {
        self.notes.tell(event);
    }

    /// One tick. Takes at most two timeouts of the proxies.
    pub async fn tick(&mut self, now: Time) {
        let began = Instant::now();
        let signals = self.proxies.signals().await;
        self.notes.proxies(self.proxies.urls(), &signals);
        let answers = proxies::answers(self.proxies.urls(), &signals);
        let mut seen = self.observer.observe(&answers);
        seen.values = self.sources.values();
        let fleet = match self.muster(now, &seen).await {
            Ok(fleet) => fleet,
            Err(error) => {
                let why = error.to_string();
                let event = Event::FleetUnknown { why };
                return self.notes.begins(Condition::FleetUnknown, event);
            }
        };
        self.notes.ends(&Condition::FleetUnknown);
        let decision = self.decide(now, &seen, &fleet);
        metrics::decision(&seen, &fleet, &decision);
        self.asked.set(&decision.reason.asks);
        let tick = Tick {
            observation: seen.clone(),
            fleet,
            decision: decision.clone(),
        };
        self.write(now, Entry::Tick(Box::new(tick)));
        self.act(now, &decision, &seen).await;
        metrics::tick(began.elapsed());
    }

    /// Ends the fleet, if it is one that ends with the scaler.
    pub async fn close(&mut self) {
        if let Hands::Free(fleet) = &mut self.hands {
            fleet.close().await;
        }
    }

    /// Gives the fleet no more time to end; [`Scaler::close`] is to follow.
    pub fn abandon(&mut self) {
        if let Hands::Free(fleet) = &mut self.hands {
            fleet.abandon();
        }
    }

    /// The fleet as it is now.
    async fn muster(&mut self, now: Time, seen: &Observation) -> Result<Roll, FleetError> {
        let census = match &mut self.hands {
            Hands::Free(fleet) => fleet.describe(now).await?,
            Hands::Tied => reported(now, seen, self.stages.keys()),
        };
        let workers = self.roster.muster(now, &census.members, seen);
        (census.ended.into_iter()).for_each(|ended| self.note_end(now, ended));
        workers
            .iter()
            .for_each(|worker| self.note_ready(now, worker));
        if self.starts.succeed(now) && self.notes.ends(&Condition::StartsFail) {
            self.notes.tell(Event::StartsWork);
        }
        let stages = workers.iter().map(|w| (w.id.clone(), w.stage));
        self.stages = stages.collect();
        Ok(Roll {
            workers,
            launches_held_until: self.starts.held_until(now),
        })
    }

    fn decide(&mut self, now: Time, seen: &Observation, fleet: &Roll) -> Decision {
        if let Hands::Free(_) = self.hands {
            let decision = self.law.decide(now, seen, fleet);
            self.notes.decided(&decision);
            return decision;
        }
        // What is decided is not done, so the law must not remember it as done.
        let decision = self.law.clone().decide(now, seen, fleet);
        let watched = Decision {
            action: Action::default(),
            ..decision.clone()
        };
        self.law.recall(now, seen, fleet, &watched);
        self.notes.would_do(&decision);
        decision
    }

    /// Does what was decided, and writes down what came of it.
    async fn act(&mut self, now: Time, decision: &Decision, seen: &Observation) {
        if let Hands::Tied = self.hands {
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
        self.give_orders(seen).await;
        let mut outcome = Outcome::default();
        self.remove(now, action, &mut outcome).await;
        self.launch(now, action.launch, &mut outcome).await;
        if outcome != Outcome::default() {
            self.write(now, Entry::Outcome(outcome));
        }
    }

    async fn remove(&mut self, now: Time, action: &Action, outcome: &mut Outcome) {
        let replaced = action.replace.iter().map(|replacement| &replacement.id);
        let Hands::Free(fleet) = &mut self.hands else {
            return;
        };
        for id in action.remove.iter().chain(replaced.clone()) {
            self.orders.ends(id);
            match fleet.remove(id).await {
                Ok(()) => outcome.removed.push(id.clone()),
                Err(error) => outcome.failed.push(error.to_string()),
            }
        }
        for id in replaced {
            if let Some(Stage::Booting) = self.stages.get(id) {
                self.note_failed_start(now);
            }
        }
    }

    async fn launch(&mut self, now: Time, count: u32, outcome: &mut Outcome) {
        let grown = match &mut self.hands {
            Hands::Free(fleet) if count > 0 => fleet.grow(now, count).await,
            _ => return,
        };
        match grown {
            Ok(ids) => {
                self.notes.ends(&Condition::LaunchFailed);
                outcome.launched = ids;
            }
            Err(error) => {
                let why = error.to_string();
                outcome.failed.push(why.clone());
                let event = Event::LaunchFailed { why };
                self.notes.begins(Condition::LaunchFailed, event);
                self.note_failed_start(now);
            }
        }
    }

    async fn give_orders(&mut self, seen: &Observation) {
        let draining: Vec<String> = self
            .roster
            .draining()
            .map(|(id, _)| id.to_owned())
            .collect();
        let members: Vec<&String> = self.stages.keys().collect();
        let all = self.orders.due(seen, &draining, &members);
        let proxies = &self.proxies;
        let given = all
            .iter()
            .map(|due| proxies.order(&due.proxy, due.order, &due.worker));
        for (due, result) in all.iter().zip(join_all(given).await) {
            self.notes.order(&due.proxy, result);
        }
    }

    fn write(&mut self, now: Time, entry: Entry) {
        match self.ledger.write(now, entry) {
            Ok(()) => {
                self.notes.ends(&Condition::LedgerFailed);
            }
            Err(error) => {
                let why = error.to_string();
                let event = Event::LedgerFailed { why };
                self.notes.begins(Condition::LedgerFailed, event);
            }
        }
    }

    fn note_end(&mut self, now: Time, ended: Ended) {
        let stage = self.stages.get(&ended.id);
        let served = !matches!(stage, None | Some(Stage::Booting));
        let failed_start = self.starts.ended(&ended.id) || !served;
        if ended.asked {
            let how = match ended.killed_after {
                Some(after) => Stopped::Killed { after },
                None => Stopped::Finished,
            };
            return self.notes.tell(Event::WorkerStopped { id: ended.id, how });
        }
        // Of starts that fail in a row, the first tells its story.
        if !failed_start || self.starts.failures() == 0 {
            self.notes.tell(Event::WorkerDied(Death {
                id: ended.id,
                after: ended.after,
                served,
                how: ended.how,
                log: ended.log,
                last_lines: ended.last_lines,
            }));
        }
        if failed_start {
            self.note_failed_start(now);
        }
    }

    fn note_failed_start(&mut self, now: Time) {
        metrics::failed_start();
        let wait = self.starts.failed(now);
        let failures = self.starts.failures();
        if failures > 1 {
            let event = Event::StartsFail { failures, wait };
            self.notes.begins(Condition::StartsFail, event);
        }
    }

    fn note_ready(&mut self, now: Time, worker: &Worker) {
        if let Hands::Tied = self.hands {
            return;
        }
        let before = self.stages.get(&worker.id);
        let is_ready = matches!(worker.stage, Stage::Serving { .. });
        if is_ready && matches!(before, None | Some(Stage::Booting)) {
            self.starts.ready(now, &worker.id);
            let (id, after) = (worker.id.clone(), now.since(worker.launched));
            self.notes.tell(Event::WorkerReady { id, after });
        }
    }
}
