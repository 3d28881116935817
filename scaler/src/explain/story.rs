//! The story of a fleet: what happened at which time, and between two changes what was the case.

use std::collections::BTreeMap;
use std::io;

use tidegate_control::{Decision, Stage, Time};

use super::LONGEST_TICK;
use crate::event::Event;
use crate::ledger::{ByHand, Entry, Line, Tick};

/// A part of the story.
pub(super) enum Told<'a> {
    /// The fleet changes.
    Change { at: Time, decision: &'a Decision },
    /// An act that failed.
    Failed { at: Time, failed: &'a [String] },
    /// An operator's order, and until when it is in force, where it ends.
    ByHand {
        at: Time,
        order: String,
        until: Option<Time>,
    },
    /// Since the part before.
    Calm(&'a Calm),
    /// Of the whole ledger.
    Total(&'a Calm),
}

/// Takes the parts as they come.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Told<'_>) -> io::Result<()>;

#[derive(Default)]
pub(super) struct Story {
    last: Option<Time>,
    /// Since the last change.
    calm: Calm,
    whole: Calm,
}

/// A stretch of time.
#[derive(Default)]
pub(super) struct Calm {
    pub seconds: f64,
    pub worker_seconds: f64,
    pub cost: Option<f64>,
    pub most_waiting: u64,
    pub blind_seconds: f64,
    pub terms: BTreeMap<String, Term>,
}

/// What one term asked for in a stretch.
#[derive(Clone, Copy, Default)]
pub(super) struct Term {
    pub won_seconds: f64,
    pub most: u32,
}

impl Story {
    pub fn take(&mut self, line: &Line, tell: Tell<'_>) -> io::Result<()> {
        let at = line.at;
        match &line.entry {
            Entry::Tick(tick) => self.tick(at, tick, tell),
            Entry::Outcome(outcome) if !outcome.failed.is_empty() => tell(Told::Failed {
                at,
                failed: &outcome.failed,
            }),
            Entry::Outcome(_) => Ok(()),
            Entry::WorkerByHand(order) => {
                self.calm_is_over(tell)?;
                tell(Told::ByHand {
                    at,
                    order: Event::WorkerByHand(order.clone()).to_string(),
                    until: None,
                })
            }
            Entry::ByHand(by_hand) => {
                self.calm_is_over(tell)?;
                let ByHand { order, .. } = by_hand;
                tell(Told::ByHand {
                    at,
                    order: Event::ByHand(by_hand.clone()).to_string(),
                    until: order.as_ref().map(|order| order.until),
                })
            }
        }
    }

    pub fn end(&mut self, tell: Tell<'_>) -> io::Result<()> {
        self.calm_is_over(tell)?;
        match self.whole.seconds > 0.0 {
            true => tell(Told::Total(&self.whole)),
            false => Ok(()),
        }
    }

    fn tick(&mut self, at: Time, tick: &Tick, tell: Tell<'_>) -> io::Result<()> {
        let since = self
            .last
            .replace(at)
            .map_or(0.0, |last| at.since(last).min(LONGEST_TICK).as_secs_f64());
        for stretch in [&mut self.calm, &mut self.whole] {
            stretch.add(since, tick);
        }
        let action = &tick.decision.action;
        let turns = action.undrain.len() + action.drain.len() + action.replace.len();
        if action.launch == 0 && turns == 0 {
            return Ok(());
        }
        self.calm_is_over(tell)?;
        let decision = &tick.decision;
        tell(Told::Change { at, decision })
    }

    fn calm_is_over(&mut self, tell: Tell<'_>) -> io::Result<()> {
        let calm = std::mem::take(&mut self.calm);
        match calm.seconds >= 1.5 {
            true => tell(Told::Calm(&calm)),
            false => Ok(()),
        }
    }
}

impl Calm {
    fn add(&mut self, seconds: f64, tick: &Tick) {
        let decision = &tick.decision;
        let workers = tick.fleet.workers.iter();
        let billed = workers
            .filter(|worker| worker.stage != Stage::Leaving)
            .count() as f64;
        self.seconds += seconds;
        self.worker_seconds += seconds * billed;
        if let Some(per_hour) = decision.cost_per_hour {
            *self.cost.get_or_insert_default() += per_hour * seconds / 3600.0;
        }
        let seen = tick
            .observation
            .proxies
            .iter()
            .filter_map(|p| p.seen.as_ref());
        self.most_waiting = self.most_waiting.max(seen.map(|seen| seen.waiting).sum());
        if !tick.observation.is_complete() {
            self.blind_seconds += seconds;
        }
        for ask in &decision.reason.asks {
            let term = self.terms.entry(ask.term.clone()).or_default();
            term.most = term.most.max(ask.workers.unwrap_or(0));
        }
        let due_to = decision.reason.due_to();
        let term = self.terms.entry(due_to.to_owned()).or_default();
        term.won_seconds += seconds;
    }

    /// The terms that won longest first.
    pub fn by_time(&self) -> Vec<(&String, &Term)> {
        let mut terms: Vec<_> = self.terms.iter().collect();
        terms.sort_by(|a, b| b.1.won_seconds.total_cmp(&a.1.won_seconds));
        terms
    }
}
