//! The scaler: one tick reads the signals and the fleet, decides, records the intent, acts, and records
//! the outcome. Nothing else changes the fleet's size.

mod acting;
mod by_hand;
mod cores;
mod keeping;
mod leadership;
mod notices;
mod starts;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidegate_control::{
    Action, Bounds, Decision, Fleet as FleetView, FleetKind, Law, Observation, Observer, Override,
    Policy, Roster, Size, Stage, Time, Worker,
};
use tidegate_telemetry::{Kind, Span};

use crate::clock::Set;
use crate::event::{Death, Event, EventSink, Stopped};
use crate::fleet::{Ended, Fleet, FleetError, FleetStatus, Limits, Notice, reported};
use crate::lease::Lease;
use crate::ledger::{ByHand, Entry, Note, Record, Tick};
use crate::metrics;
use crate::names::Names;
use crate::orders::Orders;
use crate::proxies::{self, Addressees, Signals};
use crate::publish::{Publisher, Snapshot};
use crate::sources::Sources;
use leadership::Leadership;
use notices::{Condition, Notices};
use starts::Starts;

/// What a scaler is made of.
pub struct Parts {
    pub law: Law,
    pub roster: Roster,
    pub proxies: Box<dyn Signals>,
    pub sources: Sources,
    pub actuator: Actuator,
    pub lease: Lease,
    pub ledger: Box<dyn Record>,
    pub publisher: Publisher,
    pub events: Box<dyn EventSink>,
}

/// What carries a decision out.
pub enum Actuator {
    /// A fleet that does what is decided.
    Fleet(Box<dyn Fleet>),
    /// Whoever reports to the proxies; nothing is done.
    DryRun,
}

pub struct Scaler {
    law: Law,
    observer: Observer,
    roster: Roster,
    proxies: Box<dyn Signals>,
    sources: Sources,
    orders: Orders,
    /// Who stands behind the members' names at each proxy.
    names: Names,
    actuator: Actuator,
    /// The policy's own bounds, and what the fleet last left of them.
    bounds: Bounds,
    cut: Option<Bounds>,
    leadership: Leadership,
    ledger: Box<dyn Record>,
    publisher: Publisher,
    starts: Starts,
    notices: Notices,
    /// Where each worker was at the last tick.
    stages: BTreeMap<String, Stage>,
    /// Who drains because the fleet says so.
    drained_by_fleet: BTreeSet<String>,
    asked: metrics::Asked,
    /// When what was learned is to be kept again.
    next_kept: Option<Time>,
    /// When the fleet was first seen.
    first_seen: Option<Time>,
}

impl Scaler {
    pub fn new(parts: Parts) -> Scaler {
        let fleet = &parts.law.policy().fleet;
        let mut scaler = Scaler {
            observer: Observer::of_model(fleet.model.clone()),
            bounds: fleet.bounds(),
            cut: None,
            law: parts.law,
            roster: parts.roster,
            proxies: parts.proxies,
            sources: parts.sources,
            orders: Orders::default(),
            names: Names::default(),
            actuator: parts.actuator,
            leadership: Leadership::new(parts.lease),
            ledger: parts.ledger,
            publisher: parts.publisher,
            starts: Starts::default(),
            notices: Notices::new(parts.events),
            stages: BTreeMap::new(),
            drained_by_fleet: BTreeSet::new(),
            asked: metrics::Asked::default(),
            next_kept: None,
            first_seen: None,
        };
        scaler.keep_within_limits();
        scaler
    }

    /// Goes on with another policy and other proxies.
    pub fn reload(&mut self, policy: Policy, proxies: Addressees, sources: Sources) {
        self.observer.set_model(policy.fleet.model.clone());
        self.sources = sources;
        (self.bounds, self.cut) = (policy.fleet.bounds(), None);
        self.law.reload(policy);
        self.proxies.follow(proxies);
        self.keep_within_limits();
    }

    /// Keeps the law within what the fleet allows of the policy's bounds.
    fn keep_within_limits(&mut self) {
        let Actuator::Fleet(fleet) = &self.actuator else {
            return;
        };
        let Limits { bounds, why } = fleet.limits();
        let cut = self.bounds.intersect(bounds);
        if cut == self.cut.unwrap_or(self.bounds) {
            return;
        }
        self.cut = Some(cut);
        let mut policy = self.law.policy().clone();
        (policy.fleet.min, policy.fleet.max) = (cut.min, cut.max);
        self.law.reload(policy);
        let (min, max) = (cut.min, cut.max);
        if let Some(why) = why {
            self.notices.emit(Event::BoundsCut { min, max, why });
        }
    }

    /// Takes the fleet's size into an operator's hands, or gives it back to the law.
    ///
    /// # Errors
    /// In words, when the size is one that the fleet may not have.
    pub fn take_order(
        &mut self,
        now: Time,
        size: Option<Size>,
        span: Duration,
        note: Note,
    ) -> Result<String, String> {
        let bounds = self.law.policy().fleet.bounds();
        if let Some(Size::Workers(workers)) = size
            && bounds.clamp(workers) != workers
        {
            let (min, max) = (bounds.min, bounds.max);
            return Err(format!("found {workers} workers, expected {min} to {max}"));
        }
        self.check_leads()?;
        let until = now + span;
        let order = size.map(|size| Override { size, until });
        self.law.set_override(order);
        self.leadership.set_by_hand(order);
        let by_hand = ByHand { order, note };
        self.write(now, Entry::ByHand(by_hand.clone()));
        self.notices.emit(Event::ByHand(by_hand));
        let note = Note::default();
        Ok(Event::ByHand(ByHand { order, note }).to_string())
    }

    /// Workers that serve, as of the last tick.
    pub fn serving(&self) -> usize {
        let serving = |stage: &&Stage| matches!(stage, Stage::Serving { .. });
        self.stages.values().filter(serving).count()
    }

    /// Whether it is this scaler that acts.
    pub fn leads(&self) -> bool {
        self.leadership.leads()
    }

    pub fn emit(&mut self, event: Event) {
        self.notices.emit(event);
    }

    /// The wall clock as the ticks' time has it: it was set, or not.
    pub fn follow_clock(&mut self, set: Option<Set>) {
        let behind = match set {
            Some(Set::Back(behind)) => behind,
            Some(Set::Forward(_)) | None => Duration::ZERO,
        };
        self.law.set_behind(behind);
        match set {
            Some(Set::Forward(by)) => self.notices.emit(Event::ClockSet { by, back: false }),
            Some(Set::Back(by)) => {
                let event = Event::ClockSet { by, back: true };
                self.notices.begins(Condition::ClockBehind, event);
            }
            None => drop(self.notices.ends(&Condition::ClockBehind)),
        }
    }

    /// One tick. Takes at most two timeouts of the proxies, and what the fleet takes to act.
    pub async fn tick(&mut self, now: Time) {
        let began = Instant::now();
        let mut span = Span::begin(Kind::Internal, "scaler tick", None);
        self.leadership.follow(&self.roster, &self.orders);
        let asking = span.child(Kind::Internal, "signals");
        let (replies, change) = tokio::join!(self.proxies.signals(), self.leadership.renew());
        drop(asking);
        self.follow_lease(now, change);
        self.notices.proxies(&replies);
        let mut answers = proxies::answers(&replies);
        let rules = &self.law.policy().fleet;
        if rules.kind == FleetKind::Asg {
            self.names = Names::of_instances(&mut answers, rules.model.as_deref());
        }
        // What has come is counted once: by the tick that is used.
        let mut observer = self.observer.clone();
        let mut seen = observer.observe(&answers);
        let known = self.sources.known();
        (seen.values, seen.lower_bounds) = (known.values, known.lower_bounds);
        let fleet = match self.fleet_view(now, &seen).await {
            Ok(fleet) => fleet,
            Err(error) => {
                let why = error.to_string();
                let event = Event::FleetUnknown { why };
                return self.notices.begins(Condition::FleetUnknown, event);
            }
        };
        self.notices.ends(&Condition::FleetUnknown);
        self.observer = observer;
        let decision = self.decide(now, &seen, &fleet);
        trace::decided(&mut span, &decision, self.law.policy());
        metrics::decision(&seen, &fleet, &decision);
        self.asked.set(&decision.reason.asks);
        let snapshot = Snapshot {
            answers: &answers,
            model: self.law.policy().fleet.model.as_deref(),
            seen: &seen,
            fleet: &fleet,
            decision: &decision,
        };
        match self.leadership.may_act(Duration::ZERO) {
            true => self.publisher.tick(now, &snapshot),
            false => self.publisher.watch(now, &snapshot),
        }
        let tick = Tick {
            observation: seen.clone(),
            fleet,
            decision: decision.clone(),
        };
        self.write(now, Entry::Tick(Box::new(tick)));
        self.keep_now_and_then(now);
        let acting = span.child(Kind::Internal, "act");
        self.act(now, &decision, &seen).await;
        drop(acting);
        metrics::tick(began.elapsed());
    }

    /// Keeps what was learned, lets the next scaler act, ends the fleet, if it is one that ends with the scaler, and
    /// publishes what is left.
    pub async fn close(&mut self) {
        self.keep();
        self.leadership.follow(&self.roster, &self.orders);
        if let Err(error) = self.leadership.give_up().await {
            let why = error.to_string();
            self.notices.emit(Event::LeaseUnreached { why });
        }
        if let Actuator::Fleet(fleet) = &mut self.actuator {
            fleet.close().await;
        }
        self.publisher.close().await;
    }

    /// Gives the fleet no more time to end; [`Scaler::close`] is to follow.
    pub fn abandon(&mut self) {
        if let Actuator::Fleet(fleet) = &mut self.actuator {
            fleet.abandon();
        }
    }

    /// The fleet as it is now.
    async fn fleet_view(&mut self, now: Time, seen: &Observation) -> Result<FleetView, FleetError> {
        let status = match &mut self.actuator {
            Actuator::Fleet(fleet) => fleet.describe(now).await?,
            Actuator::DryRun => reported(now, seen, self.stages.keys()),
        };
        self.keep_within_limits();
        self.first_seen.get_or_insert(now);
        metrics::status(&status);
        self.take_drains(now, &status);
        let workers = self.roster.update(now, &status.members, seen);
        let notices = status.notices.into_iter();
        // Whoever only watches is no judge of who wrote.
        let leads = self.leadership.leads();
        let is_told = |notice: &Notice| leads || !matches!(notice, Notice::SizedByOthers { .. });
        (notices.filter(is_told)).for_each(|notice| self.notices.emit(Event::Fleet(notice)));
        (status.ended.into_iter()).for_each(|ended| self.note_end(now, ended));
        workers
            .iter()
            .for_each(|worker| self.note_ready(now, worker));
        if self.starts.succeed(now) && self.notices.ends(&Condition::StartsFail) {
            self.notices.emit(Event::StartsWork);
        }
        let stages = workers.iter().map(|w| (w.id.clone(), w.stage));
        self.stages = stages.collect();
        Ok(FleetView {
            workers,
            launches_held_until: self.starts.held_until(now),
            scale_in_held: status.scale_in_held,
            kept_draining: self.roster.kept_draining().iter().cloned().collect(),
            renamed: (status.renamed.into_iter())
                .map(|renamed| (renamed.from, renamed.to))
                .collect(),
        })
    }

    /// Who drains because the fleet says so; who does not any more, and stays, takes requests
    /// again.
    fn take_drains(&mut self, now: Time, status: &FleetStatus) {
        let drained: BTreeSet<String> = status.to_drain.iter().cloned().collect();
        let stays = |id: &&String| {
            let member = status.members.iter().find(|member| member.id == **id);
            member.is_some_and(|member| !member.leaving)
        };
        let ours: BTreeSet<&str> = self.roster.draining().map(|(id, _)| id).collect();
        let released: Vec<String> = (self.drained_by_fleet.difference(&drained))
            .filter(stays)
            .filter(|id| !ours.contains(id.as_str()))
            .cloned()
            .collect();
        for id in &released {
            self.roster.undrain(now, id);
            if self.leadership.leads() {
                self.orders.undrain(id);
            }
        }
        self.leadership.set_drained_by_fleet(&drained);
        self.drained_by_fleet = drained;
    }

    fn decide(&mut self, now: Time, seen: &Observation, fleet: &FleetView) -> Decision {
        if self.may_act() {
            let decision = self.law.decide(now, seen, fleet);
            self.notices.decided(&decision);
            if let Actuator::Fleet(fleet) = &mut self.actuator {
                fleet.needs(decision.need);
            }
            self.tell_of_cores(decision.need);
            return decision;
        }
        // What is decided is not done, so the law must not remember it as done.
        let mut decision = self.law.consider(now, seen, fleet);
        match self.actuator {
            Actuator::DryRun => self.notices.would_do(&decision),
            Actuator::Fleet(_) => {
                decision.action = Action::default();
                decision.reason.to = decision.reason.from;
            }
        }
        decision
    }

    fn write(&mut self, now: Time, entry: Entry) {
        match self.ledger.record(now, entry) {
            Ok(()) => {
                self.notices.ends(&Condition::LedgerFailed);
            }
            Err(error) => {
                let why = error.to_string();
                let event = Event::LedgerFailed { why };
                self.notices.begins(Condition::LedgerFailed, event);
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
            return self
                .notices
                .emit(Event::WorkerStopped { id: ended.id, how });
        }
        // Of starts that fail in a row, the first tells its story.
        if !failed_start || self.starts.failures() == 0 {
            self.notices.emit(Event::WorkerDied(Death {
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
            self.notices.begins(Condition::StartsFail, event);
        }
    }

    fn note_ready(&mut self, now: Time, worker: &Worker) {
        if let Actuator::DryRun = self.actuator {
            return;
        }
        let before = self.stages.get(&worker.id);
        let is_ready = matches!(worker.stage, Stage::Serving { .. });
        if !is_ready || !matches!(before, None | Some(Stage::Booting)) {
            return;
        }
        let id = worker.id.clone();
        // When it became ready is unknown of one that an earlier run has launched.
        let is_older = self.first_seen.is_some_and(|first| worker.launched < first);
        if before.is_none() && is_older {
            return self.notices.emit(Event::WorkerServes { id });
        }
        self.starts.ready(now, &id);
        let after = now.since(worker.launched);
        self.notices.emit(Event::WorkerReady { id, after });
    }
}
