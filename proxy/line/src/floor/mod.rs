//! The lines of all models, and the workers as their beats describe them.
//!
//! A worker exists here from its first beat. It is handed requests while it says that it is
//! ready, is heard from, is not being drained and has not just failed a try.

mod beat;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_wire::{Beat, Order, Signal, VERSION};

use self::worker::Worker;
use crate::{Ask, Line, LineConfig, Moment, Outcome, Refusal, SeatId, Ticket};

/// A seat that refused as full is asked again after this, unless a beat comes first.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// A gap between two refreshes that means that this process did not run, not that workers died.
const ASLEEP: Duration = Duration::from_secs(1);

/// What the proxy's config says of all its lines.
#[derive(Clone, Debug)]
pub struct FloorConfig {
    /// Models that are known before a worker announces them, so that requests can wait for it.
    pub models: Vec<String>,
    pub line: LineConfig,
    /// A worker that was not heard from for this long takes nothing new.
    pub silence: Duration,
    /// A silent worker that also failed its last try is forgotten after this.
    pub forget_failed: Duration,
    /// Any silent worker is forgotten after this.
    pub forget: Duration,
    /// Most workers that may announce themselves.
    pub workers: usize,
}

impl Default for FloorConfig {
    fn default() -> Self {
        FloorConfig {
            models: Vec::new(),
            line: LineConfig::default(),
            silence: Duration::from_millis(3500),
            forget_failed: Duration::from_secs(10),
            forget: Duration::from_secs(60),
            workers: 10_000,
        }
    }
}

pub use self::beat::{BeatRefused, is_name};

/// No worker of this name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWorker;

/// Names a model's line on its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineId(usize);

/// Why a request's model names no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSuchModel {
    /// No worker serves it and no config names it.
    Unknown,
    /// The request names none and there are several.
    Ambiguous,
    /// The request names none and none is known yet.
    NoneYet,
}

/// A slot of a worker, handed to a request for one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub ticket: Ticket,
    pub seat: SeatId,
    pub address: SocketAddr,
}

/// How a try failed before the first byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The worker refused it: all its slots are taken.
    Full,
    /// The worker refused it: it warms up or drains.
    NotReady,
    /// No connection came about, so the worker never saw it.
    Unreachable,
    /// The worker took it and the connection broke.
    Died,
}

/// Every line of one proxy, and every worker that announced itself.
#[derive(Clone, Debug)]
pub struct Floor {
    config: FloorConfig,
    lines: Vec<(String, Line)>,
    workers: BTreeMap<String, Worker>,
    names: BTreeMap<(LineId, SeatId), String>,
    /// Seats of earlier boots that still hold permits.
    retired: Vec<(LineId, SeatId)>,
    refreshed: Moment,
}

impl Floor {
    pub fn new(config: FloorConfig) -> Self {
        let lines = (config.models.iter())
            .map(|model| (model.clone(), Line::new(config.line)))
            .collect();
        Floor {
            config,
            lines,
            workers: BTreeMap::new(),
            names: BTreeMap::new(),
            retired: Vec::new(),
            refreshed: Moment::ZERO,
        }
    }

    /// The models that have a line, in the order they became known.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(model, _)| model.as_str())
    }

    pub fn lines(&self) -> impl Iterator<Item = LineId> + use<> {
        (0..self.lines.len()).map(LineId)
    }

    /// The model of a line.
    pub fn model(&self, line: LineId) -> &str {
        &self.lines[line.0].0
    }

    /// The line of the model that a request names; of the only one, when it names none.
    pub fn line_of(&self, model: Option<&str>) -> Result<LineId, NoSuchModel> {
        match (model, self.lines.len()) {
            (Some(model), _) => self.find_line(model).ok_or(NoSuchModel::Unknown),
            (None, 1) => Ok(LineId(0)),
            (None, 0) => Err(NoSuchModel::NoneYet),
            (None, _) => Err(NoSuchModel::Ambiguous),
        }
    }

    pub fn arrive(&mut self, now: Moment, line: LineId, ask: Ask) -> Result<Ticket, Refusal> {
        self.line_mut(line).arrive(now, ask)
    }

    /// As [`Line::hand_out`], with the address of the worker.
    pub fn hand_out(&mut self, now: Moment, line: LineId) -> Option<Placement> {
        let grant = self.line_mut(line).hand_out(now)?;
        let name = self.names.get(&(line, grant.seat))?;
        Some(Placement {
            ticket: grant.ticket,
            seat: grant.seat,
            address: self.workers.get(name)?.beat.address,
        })
    }

    /// Ends a request. An answered one is a sign of life of its worker.
    pub fn end(
        &mut self,
        now: Moment,
        line: LineId,
        ticket: Ticket,
        seat: Option<SeatId>,
        outcome: Outcome,
    ) {
        self.line_mut(line).end(now, ticket, outcome);
        if let (Outcome::Answered, Some(seat)) = (outcome, seat) {
            self.with_worker(now, line, seat, |worker| worker.answered(now));
        }
    }

    /// Takes the permit of a failed try and puts its request back at the head of the line.
    /// `false` when the retry budget is spent: the request is then to be ended as failed.
    pub fn set_back(
        &mut self,
        now: Moment,
        line: LineId,
        ticket: Ticket,
        seat: SeatId,
        setback: Setback,
    ) -> bool {
        self.blame(now, line, seat, setback);
        if setback == Setback::Died {
            return self.line_mut(line).retry(ticket);
        }
        self.line_mut(line).put_back(ticket);
        true
    }

    /// Notes a setback of a try whose request is given up.
    pub fn blame(&mut self, now: Moment, line: LineId, seat: SeatId, setback: Setback) {
        self.with_worker(now, line, seat, |worker| worker.set_back(now, setback));
    }

    /// Takes a worker's beat in and says what it shall do.
    pub fn beat(&mut self, now: Moment, beat: Beat) -> Result<Option<Order>, BeatRefused> {
        beat::check(&beat)?;
        let name = beat.worker.clone();
        match self.workers.get(&name) {
            Some(known) if known.beat.boot == beat.boot => {
                if beat.sequence <= known.beat.sequence {
                    return Ok(known.order());
                }
            }
            Some(known) if known.boot_before.as_ref() == Some(&beat.boot) => return Ok(None),
            Some(known) => {
                let boot_before = known.beat.boot.clone();
                self.retire(&name);
                self.welcome(now, beat.clone())?.boot_before = Some(boot_before);
            }
            None => {
                self.welcome(now, beat.clone())?;
            }
        }
        let Some(worker) = self.workers.get_mut(&name) else {
            return Ok(None);
        };
        worker.accept(now, beat);
        let (line, seat, order) = (worker.line, worker.seat, worker.order());
        self.update_seat(now, line, seat, false);
        Ok(order)
    }

    /// Stops new hand-outs to a worker until it is undrained or boots again.
    pub fn drain(&mut self, now: Moment, worker: &str) -> Result<(), UnknownWorker> {
        self.order(now, worker, Worker::drain)
    }

    /// Takes a drain back.
    pub fn undrain(&mut self, now: Moment, worker: &str) -> Result<(), UnknownWorker> {
        self.order(now, worker, Worker::undrain)
    }

    /// Notices silence, ends pauses and forgets who is gone. To be called several times a
    /// second, with [`Floor::hand_out`] of every line after it.
    pub fn refresh(&mut self, now: Moment) {
        let gap = now.saturating_sub(self.refreshed);
        self.refreshed = now;
        if gap > ASLEEP {
            self.workers
                .values_mut()
                .for_each(|worker| worker.answered(now));
        }
        let silence = self.config.silence;
        let silent = self
            .workers
            .values()
            .filter(|worker| worker.is_silent(now, silence));
        let most_vanished = silent.count() * 2 > self.workers.len();
        let seats: Vec<_> = (self.workers.values())
            .map(|worker| {
                let silent = worker.is_silent(now, silence) && !most_vanished;
                (worker.line, worker.seat, silent)
            })
            .collect();
        for (line, seat, silent) in seats {
            self.update_seat(now, line, seat, silent);
        }
        self.forget(now, most_vanished);
    }

    /// Everything that was counted, as one snapshot.
    pub fn signal(&self, now: Moment, proxy: &str, epoch: &str) -> Signal {
        let models = self
            .lines
            .iter()
            .map(|(model, line)| line.signal(now, model));
        Signal {
            version: VERSION,
            proxy: proxy.to_owned(),
            epoch: epoch.to_owned(),
            now_ms: now.as_millis() as u64,
            models: models.collect(),
            workers: (self.workers.values())
                .map(|worker| {
                    let seats = self.line(worker.line).seats();
                    let taking = seats.is_taking(worker.seat);
                    worker.signal(now, taking, seats.permits(worker.seat))
                })
                .collect(),
        }
    }

    /// Requests in line and in flight, over all models.
    pub fn unfinished(&self) -> usize {
        let lines = self.lines.iter();
        lines
            .map(|(_, line)| line.waiting() + line.in_flight())
            .sum()
    }

    fn find_line(&self, model: &str) -> Option<LineId> {
        self.models().position(|known| known == model).map(LineId)
    }

    fn line(&self, line: LineId) -> &Line {
        &self.lines[line.0].1
    }

    fn line_mut(&mut self, line: LineId) -> &mut Line {
        &mut self.lines[line.0].1
    }

    fn welcome(&mut self, now: Moment, beat: Beat) -> Result<&mut Worker, BeatRefused> {
        let most = self.config.workers;
        if self.workers.len() >= most {
            return Err(BeatRefused::TooManyWorkers { most });
        }
        let line = self.find_line(&beat.model).unwrap_or_else(|| {
            let line = Line::new(self.config.line);
            self.lines.push((beat.model.clone(), line));
            LineId(self.lines.len() - 1)
        });
        let seat = self.line_mut(line).seats_mut().add();
        let name = beat.worker.clone();
        self.names.insert((line, seat), name.clone());
        let worker = Worker::new(now, beat, line, seat);
        Ok(self.workers.entry(name).insert_entry(worker).into_mut())
    }

    /// Ends a boot of a worker; its seat stays until its permits are given back.
    fn retire(&mut self, name: &str) {
        if let Some(worker) = self.workers.remove(name) {
            self.names.remove(&(worker.line, worker.seat));
            let seats = self.line_mut(worker.line).seats_mut();
            seats.update(worker.seat, worker.beat.slots, 0, false);
            self.retired.push((worker.line, worker.seat));
        }
    }

    /// A worker that holds permits is never forgotten: its drain must not look finished.
    fn forget(&mut self, now: Moment, most_vanished: bool) {
        let gone: Vec<String> = (self.workers.iter())
            .filter(|(_, worker)| worker.is_gone(now, most_vanished, &self.config))
            .filter(|(_, worker)| self.line(worker.line).seats().permits(worker.seat) == 0)
            .map(|(name, _)| name.clone())
            .collect();
        gone.iter().for_each(|name| self.retire(name));
        let lines = &mut self.lines;
        self.retired
            .retain(|(line, seat)| !lines[line.0].1.seats_mut().remove(*seat));
    }

    fn order(
        &mut self,
        now: Moment,
        name: &str,
        order: impl FnOnce(&mut Worker),
    ) -> Result<(), UnknownWorker> {
        let worker = self.workers.get_mut(name).ok_or(UnknownWorker)?;
        order(worker);
        let (line, seat) = (worker.line, worker.seat);
        self.update_seat(now, line, seat, false);
        Ok(())
    }

    fn with_worker(
        &mut self,
        now: Moment,
        line: LineId,
        seat: SeatId,
        change: impl FnOnce(&mut Worker),
    ) {
        let name = self.names.get(&(line, seat));
        if let Some(worker) = name.and_then(|name| self.workers.get_mut(name)) {
            change(worker);
            self.update_seat(now, line, seat, false);
        }
    }

    fn update_seat(&mut self, now: Moment, line: LineId, seat: SeatId, silent: bool) {
        let name = self.names.get(&(line, seat));
        if let Some(worker) = name.and_then(|name| self.workers.get(name)) {
            let (slots, elsewhere) = (worker.beat.slots, worker.elsewhere(now));
            let taking = worker.is_taking(now, silent);
            let seats = self.lines[line.0].1.seats_mut();
            seats.update(seat, slots, elsewhere, taking);
        }
    }
}
