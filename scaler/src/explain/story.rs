//! The story of a fleet: a paragraph for each change of its size, and one summary line between two
//! changes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use chrono::{DateTime, NaiveDate, Utc};
use tidegate_control::{Ask, Decision, Stage, Time};

use super::{LONGEST_TICK, span, utc};
use crate::event::Event;
use crate::ledger::{ByHand, Entry, Line, Tick};

#[derive(Default)]
pub(super) struct Story {
    day: Option<NaiveDate>,
    last: Option<Time>,
    /// Since the last change.
    calm: Calm,
    whole: Calm,
}

/// A stretch of time.
#[derive(Default)]
struct Calm {
    seconds: f64,
    worker_seconds: f64,
    cost: Option<f64>,
    most_waiting: u64,
    blind_seconds: f64,
    terms: BTreeMap<String, Term>,
}

/// What one term asked for in a stretch.
#[derive(Clone, Copy, Default)]
struct Term {
    won_seconds: f64,
    most: u32,
}

impl Story {
    pub fn take(&mut self, line: &Line, out: &mut dyn Write) -> io::Result<()> {
        match &line.entry {
            Entry::Tick(tick) => self.tick(line.at, tick, out),
            Entry::Outcome(outcome) if !outcome.failed.is_empty() => {
                self.stamp(line.at, out)?;
                writeln!(out, "failed: {}", outcome.failed.join("; "))
            }
            Entry::Outcome(_) => Ok(()),
            Entry::WorkerByHand(order) => {
                self.calm_is_over(out)?;
                self.stamp(line.at, out)?;
                writeln!(out, "{}", Event::WorkerByHand(order.clone()))
            }
            Entry::ByHand(ByHand { order, note }) => {
                self.calm_is_over(out)?;
                self.stamp(line.at, out)?;
                match order {
                    Some(order) => {
                        let end = utc(order.until).format("%F %T");
                        writeln!(out, "{order}{note} until {end}")
                    }
                    None => writeln!(out, "the policy decides again{note}"),
                }
            }
        }
    }

    pub fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.calm_is_over(out)?;
        let whole = &self.whole;
        if whole.seconds == 0.0 {
            return Ok(());
        }
        let hours = whole.worker_seconds / 3600.0;
        write!(
            out,
            "\ntotal {}: {hours:.2} instance-hours",
            span(whole.seconds)
        )?;
        match whole.cost {
            Some(cost) => writeln!(out, ", cost {cost:.2}")?,
            None => writeln!(out)?,
        }
        writeln!(
            out,
            "{:<20} {:>6} {:>14}",
            "due to", "time", "asked at most"
        )?;
        for (name, term) in by_time(&whole.terms) {
            let share = 100.0 * term.won_seconds / whole.seconds;
            writeln!(out, "{name:<20} {share:>4.0} % {:>14}", term.most)?;
        }
        Ok(())
    }

    fn tick(&mut self, at: Time, tick: &Tick, out: &mut dyn Write) -> io::Result<()> {
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
        self.calm_is_over(out)?;
        self.stamp(at, out)?;
        writeln!(out, "{}", tick.decision)?;
        writeln!(out, "{:10}asked: {}", "", asked(&tick.decision))
    }

    fn calm_is_over(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let calm = std::mem::take(&mut self.calm);
        match calm.seconds >= 1.5 {
            true => calm.print(out),
            false => Ok(()),
        }
    }

    /// The time of day, and the date before the first of each day.
    fn stamp(&mut self, at: Time, out: &mut dyn Write) -> io::Result<()> {
        let at: DateTime<Utc> = utc(at);
        if self.day.replace(at.date_naive()) != Some(at.date_naive()) {
            writeln!(out, "{} UTC", at.format("%A, %F"))?;
        }
        write!(out, "{}  ", at.format("%T"))
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

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let winners: Vec<String> = by_time(&self.terms)
            .into_iter()
            .filter(|(_, term)| term.won_seconds * 100.0 >= self.seconds)
            .map(|(name, term)| {
                let share = 100.0 * term.won_seconds / self.seconds;
                format!("{name} {share:.0} %")
            })
            .collect();
        let mean = self.worker_seconds / self.seconds;
        write!(out, "{:10}{} at {mean:.1} workers", "", span(self.seconds))?;
        if !winners.is_empty() {
            write!(out, "; due to {}", winners.join(", "))?;
        }
        if self.most_waiting > 0 {
            write!(out, "; up to {} in the queue", self.most_waiting)?;
        }
        if self.blind_seconds > 0.0 {
            write!(out, "; a proxy missing for {}", span(self.blind_seconds))?;
        }
        match self.cost {
            Some(cost) => writeln!(out, "; cost {cost:.3}"),
            None => writeln!(out),
        }
    }
}

/// The terms that won longest first.
fn by_time(terms: &BTreeMap<String, Term>) -> Vec<(&String, &Term)> {
    let mut terms: Vec<_> = terms.iter().collect();
    terms.sort_by(|a, b| b.1.won_seconds.total_cmp(&a.1.won_seconds));
    terms
}

fn asked(decision: &Decision) -> String {
    let text = |ask: &Ask| match ask.workers {
        Some(workers) => format!("{} {workers}", ask.term),
        None => format!("{} holds", ask.term),
    };
    let asks: Vec<_> = decision.reason.asks.iter().map(text).collect();
    asks.join(", ")
}
